/*
 * Finds the instructions that name, call or jump to an address in machine code, without decoding it, and pointers to it in relocations.
 * Bytes that only look like an instruction are found too. It is WebAssembly, so that it reaches nothing but its own memory, and runs at full speed from its first window on.
 *
 * The caller fills `window`, calls one of the exported functions, and reads `count` of `hits`. A function returns the place it has come
 * to, short of `length` where `hits` is full: it is called again from there.
 */

typedef unsigned char byte;
typedef unsigned int word;
typedef unsigned long long number;
typedef long long address;

enum { window_size = 1 << 20, most_hits = 4096 };

/* Each window ends with zeros that are never looked at as code: words are read whole. */
_Alignas(16) byte window[window_size + 16];
struct {
	double at, target;
} hits[most_hits];
word count;
/* The lowest 16 bits of the addresses wanted, one bit each: the caller looks closer at what passes. */
byte wanted[1 << 13];
/* The lowest 16 bits of the pages in which, or in the next of which, one of them lies. */
byte near[1 << 13];

/* Addresses that are called, one bit for each place where a function may begin; behind all else in memory. */
extern byte __heap_base[];
static address called_from;
static number called_size;
static word called_shift;

#define EXPORTED(name) __attribute__((export_name(#name)))
#define INLINE static inline __attribute__((always_inline))

/* From now on calls to `size` bytes from `from` on are noted, at each multiple of 2^shift. */
EXPORTED(note) void note(double from, double size, word shift)
{
	called_from = (address)from;
	called_size = (number)size;
	called_shift = shift;
}

INLINE void called(address target)
{
	number distance = (number)(target - called_from);

	if (distance >= called_size || (distance & ((1u << called_shift) - 1)) != 0)
		return;
	number bit = distance >> called_shift;
	__heap_base[bit >> 3] |= (byte)(1 << (bit & 7));
}

INLINE int is_in(const byte *bits, address one)
{
	word low = (word)one & 0xffff;

	return (bits[low >> 3] & (1 << (low & 7))) != 0;
}

INLINE void found(address at, address target, address by)
{
	if (!is_in(wanted, by))
		return;
	hits[count].at = (double)at;
	hits[count].target = (double)target;
	count++;
}

INLINE void named(address at, address target)
{
	found(at, target, target);
}

INLINE int read_i32(const byte *from)
{
	int value;

	__builtin_memcpy(&value, from, sizeof value);
	return value;
}

static const number ones = 0x0101010101010101ull;
static const number low_bits = 0x7f7f7f7f7f7f7f7full;

/* Eight bytes at a time: the highest bit is set of each byte that is `value`, and of no other. */
INLINE number equal(number bytes, byte value)
{
	number rest = bytes ^ (ones * value);

	return ~(((rest & low_bits) + low_bits) | rest | low_bits);
}

enum kind {
	/* A file that is loaded anywhere: addresses are told by their distance. */
	movable,
	/* One that is loaded where it was linked, whose instructions may hold addresses themselves. */
	fixed,
	/* Calls and jumps. */
	transfers,
};

/* The bytes at which an instruction of this kind may begin, but for its prefix. Intel SDM volume 2. */
INLINE number beginnings(number bytes, enum kind kind)
{
	if (kind == transfers)
		return equal(bytes & ~ones, 0xe8);
	number all = equal(bytes, 0x8d) | equal(bytes, 0xe8);
	return kind == movable ? all : all | equal(bytes & (ones * 0xf8), 0xb8) | equal(bytes, 0xc7);
}

INLINE void look_x86(word at, word length, address start, enum kind kind)
{
	const byte *code = window + at;
	address here = start + at;

	if (kind == transfers) {
		/* call d, jmp d */
		if (at + 5 <= length)
			named(here, here + 5 + read_i32(code + 1));
		return;
	}
	if (at == 0 || at + 6 > length)
		return;
	if (code[0] == 0xe8) {
		called(here + 5 + read_i32(code + 1));
	} else if (code[0] == 0x8d) {
		/* lea r, [rip + d] */
		if ((code[1] & 0xc7) != 5 || (code[-1] & 0xf8) != 0x48)
			return;
		address target = here + 6 + read_i32(code + 2);
		/* A function that only pointers lead to. */
		called(target);
		named(here - 1, target);
	} else if (code[0] == 0xc7) {
		/* mov [r + d], i */
		word modes = code[1];

		if ((code[-1] & 0xf8) != 0x48 || modes >> 6 == 3)
			return;
		word behind = 2 + ((modes & 7) == 4) + (modes >> 6 == 0 ? 0 : modes >> 6 == 1 ? 1 : 4);
		if (at + behind + 4 <= length)
			named(here - 1, (word)read_i32(code + behind));
	} else {
		/* mov r, i: a prefix before it names one of the upper registers. */
		named(here - ((code[-1] & 0xfe) == 0x40), (word)read_i32(code + 1));
	}
}

INLINE word scan_x86(word at, word length, double start, enum kind kind)
{
	count = 0;
	for (; at < length; at += 8) {
		number bytes;

		if (count > most_hits - 8)
			return at;
		__builtin_memcpy(&bytes, window + at, sizeof bytes);
		for (number left = beginnings(bytes, kind); left != 0; left &= left - 1)
			look_x86(at + (word)(__builtin_ctzll(left) >> 3), length, (address)start, kind);
	}
	return length;
}

/* lea r, [rip + d] (REX.W 8D /r); call d (E8) is noted. `start`: the address of the window's first byte. */
EXPORTED(x86Movable) word x86_movable(word at, word length, double start)
{
	return scan_x86(at, length, start, movable);
}

/* The same, and mov r, i (B8+r), mov [r + d], i (REX.W C7 /0). */
EXPORTED(x86Fixed) word x86_fixed(word at, word length, double start)
{
	return scan_x86(at, length, start, fixed);
}

/* call d (E8), jmp d (E9). */
EXPORTED(x86Transfers) word x86_transfers(word at, word length, double start)
{
	return scan_x86(at, length, start, transfers);
}

INLINE word instruction(word at)
{
	return *(const word *)(window + at);
}

/* Bytes of code that may lie between the halves of an address. */
enum { apart = 64 };

INLINE int is_call(word one)
{
	return one >> 26 == 0x25;
}

/* paciasp: signs the return address, first of all in a function that keeps it. */
enum { sign = 0xd503233f };

/*
 * adrp r, page and behind it add r, r, rest, and another behind that where it is the address of all constants of a source file as one (GCC's
 * section anchors); bl d is noted. Arm ARM C6.2.
 */
EXPORTED(arm64Names) word arm64_names(word at, word length, double start)
{
	count = 0;
	for (; at + 4 <= length; at += 4) {
		word one = instruction(at);
		address here = (address)start + at;

		if (count > most_hits - apart / 4)
			return at;
		if (is_call(one))
			called(here + ((int)(one << 6) >> 4));
		/* What signs the address that a call before it left would return to itself: that call never returns, and a function ends with it. */
		else if (one == sign && at >= 4 && is_call(instruction(at - 4)))
			called(here);
		if ((one & 0x9f000000) != 0x90000000)
			continue;
		address target = (here & ~0xfffll) + ((address)((int)(one << 8) >> 13) * 4 + ((one >> 29) & 3)) * 4096;
		word base = one & 31;
		int is_whole = 0;
		for (word next = at + 4; next < at + apart && next + 4 <= length; next += 4) {
			word other = instruction(next);

			if (other >> 22 != 0x244 || ((other >> 5) & 31) != base)
				continue;
			address sum = target + ((other >> 10) & 0xfff);
			named(is_whole ? (address)start + next : here, sum);
			if (is_whole)
				continue;
			/* A function that only pointers lead to. */
			called(sum);
			if (!is_in(near, sum >> 12))
				break;
			target = sum;
			base = other & 31;
			is_whole = 1;
		}
	}
	return length;
}

/* b d, bl d. */
EXPORTED(arm64Transfers) word arm64_transfers(word at, word length, double start)
{
	count = 0;
	for (; at + 4 <= length; at += 4) {
		word one = instruction(at);

		if (count == most_hits)
			return at;
		if (((one >> 26) & 31) == 5)
			named((address)start + at, (address)start + at + ((int)(one << 6) >> 4));
	}
	return length;
}

/* Elf64_Rela of gabi, "Relocation". */
struct relocation {
	number place, info, addend;
};

INLINE word scan_relocations(word at, word length, double kind, int is_by_place)
{
	count = 0;
	for (; at + sizeof(struct relocation) <= length; at += sizeof(struct relocation)) {
		const struct relocation *one = (const struct relocation *)(window + at);

		if (count == most_hits)
			return at;
		if (one->info == (number)kind)
			found((address)one->place, (address)one->addend, (address)(is_by_place ? one->place : one->addend));
	}
	return length;
}

/* Those of one kind that lie at a place wanted, or add to an address wanted where the file is loaded. */
EXPORTED(relocationsAt) word relocations_at(word at, word length, double kind)
{
	return scan_relocations(at, length, kind, 1);
}

EXPORTED(relocationsTo) word relocations_to(word at, word length, double kind)
{
	return scan_relocations(at, length, kind, 0);
}
