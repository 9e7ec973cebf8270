/*
 * Unpacks one stream of a format that kernels and their packages are packed in. It is built to WebAssembly, so that what a
 * hostile stream does to it stays in its own memory, which --max-memory of inflate.ts bounds.
 *
 * The caller puts bytes at inflate_in(), says how many by inflate_feed(), and calls inflate_step() until it wants more:
 * each step may leave bytes at inflate_out(). A stream is one frame or member; what lies behind it is left in the input.
 */
#include <bzlib.h>
#include <lz4.h>
#include <lzma.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#define EXPORT(name) __attribute__((export_name(#name)))

enum status { MORE_INPUT = 0, MORE_OUTPUT = 1, END = 2, DAMAGED = -1, TOO_LARGE = -2 };
enum format { GZIP, XZ, ZSTD, LZ4, LZMA, BZIP2, LZO, FORMATS };

/* Bytes of memory that a dictionary may have: xz's of 128 MiB, which x86 kernels are packed with, and what goes with it. */
#define MOST_MEMORY (192u << 20)
#define LARGEST_WINDOW_LOG 27

static uint8_t input[64 << 10];
static uint8_t output[256 << 10];
static size_t input_at, input_size, output_size;
static int is_last;

static z_stream gzip;
static lzma_stream xz = LZMA_STREAM_INIT;
static bz_stream bzip2;
static ZSTD_DStream *zstd;

EXPORT(inflate_in) uint8_t *inflate_in(void) { return input; }
EXPORT(inflate_room) size_t inflate_room(void) { return sizeof(input); }
EXPORT(inflate_out) uint8_t *inflate_out(void) { return output; }
/* Bytes that the last step left at inflate_out(). */
EXPORT(inflate_made) size_t inflate_made(void) { return output_size; }
/* Bytes of the input that were taken. */
EXPORT(inflate_taken) size_t inflate_taken(void) { return input_at; }

/* So many bytes lie at inflate_in() now; `last`: no others follow. */
EXPORT(inflate_feed) void inflate_feed(size_t size, int last)
{
	input_at = 0;
	input_size = size;
	is_last = last;
}

static void took(size_t left, size_t room_left)
{
	input_at = input_size - left;
	output_size = sizeof(output) - room_left;
}

static enum status step_gzip(void)
{
	gzip.next_in = input + input_at;
	gzip.avail_in = input_size - input_at;
	gzip.next_out = output;
	gzip.avail_out = sizeof(output);
	int told = inflate(&gzip, Z_NO_FLUSH);
	took(gzip.avail_in, gzip.avail_out);
	if (told == Z_STREAM_END)
		return END;
	return told == Z_OK || told == Z_BUF_ERROR ? MORE_INPUT : told == Z_MEM_ERROR ? TOO_LARGE : DAMAGED;
}

static enum status step_lzma(void)
{
	xz.next_in = input + input_at;
	xz.avail_in = input_size - input_at;
	xz.next_out = output;
	xz.avail_out = sizeof(output);
	lzma_ret told = lzma_code(&xz, is_last ? LZMA_FINISH : LZMA_RUN);
	took(xz.avail_in, xz.avail_out);
	if (told == LZMA_STREAM_END)
		return END;
	if (told == LZMA_MEM_ERROR || told == LZMA_MEMLIMIT_ERROR)
		return TOO_LARGE;
	return told == LZMA_OK || told == LZMA_BUF_ERROR ? MORE_INPUT : DAMAGED;
}

static enum status step_bzip2(void)
{
	bzip2.next_in = (char *)input + input_at;
	bzip2.avail_in = input_size - input_at;
	bzip2.next_out = (char *)output;
	bzip2.avail_out = sizeof(output);
	int told = BZ2_bzDecompress(&bzip2);
	took(bzip2.avail_in, bzip2.avail_out);
	if (told == BZ_STREAM_END)
		return END;
	return told == BZ_OK ? MORE_INPUT : told == BZ_MEM_ERROR ? TOO_LARGE : DAMAGED;
}

static enum status step_zstd(void)
{
	ZSTD_inBuffer in = { input, input_size, input_at };
	ZSTD_outBuffer out = { output, sizeof(output), 0 };
	size_t told = ZSTD_decompressStream(zstd, &out, &in);
	took(in.size - in.pos, out.size - out.pos);
	if (told == 0)
		return END;
	if (!ZSTD_isError(told))
		return MORE_INPUT;
	ZSTD_ErrorCode code = ZSTD_getErrorCode(told);
	return code == ZSTD_error_frameParameter_windowTooLarge || code == ZSTD_error_memory_allocation ? TOO_LARGE
													: DAMAGED;
}

/* LZ4 and LZO: frames of blocks, each unpacked at once. */
static struct {
	enum { FRAME, SIZES, DATA, STORED } stage;
	uint8_t *packed, *plain;
	/* Bytes of `packed` that are there, and that the stage needs; of `plain` that are to be given away, and that were. */
	size_t have, need, size, given;
	uint32_t flags, plain_size, packed_size, total;
} block;

#define LARGEST_PLAIN (8u << 20)
#define LARGEST_PACKED (LARGEST_PLAIN + LARGEST_PLAIN / 16 + 1024)

static uint32_t le32(const uint8_t *at)
{
	return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}
static uint32_t be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

static void await(int stage, size_t need)
{
	block.stage = stage;
	block.have = 0;
	block.need = need;
}

/* The legacy frame of lz4(1): a magic, then blocks of 8 MiB behind the size of each. Kernels are packed in no other. */
#define LZ4_LEGACY 0x184c2102u

static enum status lz4_stage(void)
{
	uint32_t word = le32(block.packed);
	switch (block.stage) {
	case FRAME:
		if (word != LZ4_LEGACY)
			return DAMAGED;
		await(SIZES, 4);
		return MORE_INPUT;
	case SIZES:
		/* What makes a vmlinuz puts the size of it all there. */
		if (word == block.total && is_last && input_at == input_size)
			return END;
		if (word == LZ4_LEGACY)
			await(SIZES, 4);
		else if (word > LARGEST_PACKED)
			return DAMAGED;
		else
			await(DATA, word);
		return MORE_INPUT;
	default: {
		int size = LZ4_decompress_safe((char *)block.packed, (char *)block.plain, block.need, LARGEST_PLAIN);
		if (size < 0)
			return DAMAGED;
		block.size = size;
		block.total += size;
		await(SIZES, 4);
		return MORE_INPUT;
	}
	}
}

/* A run of 255s, each a zero byte, and what follows. @returns 0 where it does not end, or too late */
static size_t run_of(const uint8_t **at, const uint8_t *end, size_t base)
{
	size_t size = base;
	while (*at < end && **at == 0) {
		size += 255;
		*at += 1;
		if (size > LARGEST_PLAIN)
			return 0;
	}
	if (*at == end)
		return 0;
	size += **at;
	*at += 1;
	return size;
}

/*
 * One block of LZO1X, by the kernel's Documentation/staging/lzo.rst.
 * @returns how many bytes came of it; -1 where it is damaged
 */
static int unpack_lzo(const uint8_t *at, size_t packed, uint8_t *plain, size_t room)
{
	const uint8_t *end = at + packed;
	uint8_t *out = plain, *out_end = plain + room;
	/* How many literals were copied last: 1 to 3 behind a match, 4: more, of an instruction of their own. */
	unsigned state = 0;
	size_t literals = 0;

	if (at < end && *at > 17) {
		literals = *at++ - 17;
		state = literals < 4 ? literals : 4;
	}
	for (;;) {
		if (literals > (size_t)(end - at) || literals > (size_t)(out_end - out))
			return -1;
		memcpy(out, at, literals);
		at += literals;
		out += literals;
		if (at == end)
			return -1;

		unsigned code = *at++;
		size_t length, distance;
		if (code < 16 && state == 0) {
			literals = code == 0 ? run_of(&at, end, 18) : code + 3u;
			if (literals == 0)
				return -1;
			state = 4;
			continue;
		}
		if (code >= 64 || code < 16) {
			if (at == end)
				return -1;
			unsigned high = *at++;
			if (code >= 64) {
				length = code >= 128 ? 5 + (code >> 5 & 3) : 3 + (code >> 5 & 1);
				distance = (high << 3) + (code >> 2 & 7) + 1;
			} else {
				length = state == 4 ? 3 : 2;
				distance = (high << 2) + (code >> 2) + (state == 4 ? 2049 : 1);
			}
			state = code & 3;
		} else {
			unsigned mask = code >= 32 ? 31 : 7;
			length = code & mask;
			length = 2 + (length == 0 ? run_of(&at, end, mask) : length);
			if (length == 2 || end - at < 2)
				return -1;
			unsigned word = at[0] | at[1] << 8;
			at += 2;
			distance = (word >> 2) + (code >= 32 ? 1 : 16384 + ((code & 8) << 11));
			state = word & 3;
			if (code < 32 && distance == 16384)
				return at == end ? (int)(out - plain) : -1;
		}
		if (distance > (size_t)(out - plain) || length > (size_t)(out_end - out))
			return -1;
		for (; length > 0; length--, out++)
			*out = out[-(ptrdiff_t)distance];
		literals = state;
	}
}

/* The file of lzop(1): a header, then blocks behind their sizes and sums, the last of them empty. */
static const uint8_t lzop_magic[9] = { 0x89, 'L', 'Z', 'O', 0, '\r', '\n', 0x1a, '\n' };
enum { ADLER_PLAIN = 1, ADLER_PACKED = 2, CRC_PLAIN = 0x100, CRC_PACKED = 0x200, EXTRA_FIELD = 0x40, FILTER = 0x800 };
/* Of a header up to the file's name: magic, three versions, method, level, flags, mode, two times, the name's length. */
#define LZOP_FIXED (9 + 6 + 1 + 1 + 4 + 4 + 8 + 1)

static enum status lzo_stage(void)
{
	const uint8_t *at = block.packed;
	switch (block.stage) {
	case FRAME:
		if (memcmp(at, lzop_magic, sizeof(lzop_magic)) != 0 || (at[9] << 8 | at[10]) < 0x940)
			return DAMAGED;
		block.flags = be32(at + 17);
		if (block.flags & (FILTER | EXTRA_FIELD))
			return DAMAGED;
		if (block.have < LZOP_FIXED + at[LZOP_FIXED - 1] + 4u) {
			block.need = LZOP_FIXED + at[LZOP_FIXED - 1] + 4;
			return MORE_INPUT;
		}
		await(SIZES, 4);
		return MORE_INPUT;
	case SIZES:
		block.plain_size = be32(at);
		if (block.plain_size == 0)
			return END;
		if (block.have < 8) {
			block.need = 8;
			return MORE_INPUT;
		}
		block.packed_size = be32(at + 4);
		if (block.plain_size > LARGEST_PLAIN || block.packed_size > block.plain_size || block.packed_size == 0)
			return DAMAGED;
		int is_stored = block.packed_size == block.plain_size;
		size_t sums = 4 * (!!(block.flags & ADLER_PLAIN) + !!(block.flags & CRC_PLAIN));
		if (!is_stored)
			sums += 4 * (!!(block.flags & ADLER_PACKED) + !!(block.flags & CRC_PACKED));
		await(is_stored ? STORED : DATA, sums + block.packed_size);
		return MORE_INPUT;
	default:
		at += block.need - block.packed_size;
		if (block.stage == STORED)
			memcpy(block.plain, at, block.plain_size);
		else if (unpack_lzo(at, block.packed_size, block.plain, block.plain_size) != (int)block.plain_size)
			return DAMAGED;
		const uint8_t *sum = block.packed;
		if (block.flags & ADLER_PLAIN && adler32(1, block.plain, block.plain_size) != be32(sum))
			return DAMAGED;
		sum += block.flags & ADLER_PLAIN ? 4 : 0;
		if (block.flags & CRC_PLAIN && crc32(0, block.plain, block.plain_size) != be32(sum))
			return DAMAGED;
		block.size = block.plain_size;
		await(SIZES, 4);
		return MORE_INPUT;
	}
}

static enum status step_blocks(enum status (*stage)(void))
{
	for (;;) {
		if (block.given < block.size) {
			size_t left = block.size - block.given;
			output_size = left < sizeof(output) ? left : sizeof(output);
			memcpy(output, block.plain + block.given, output_size);
			block.given += output_size;
			return MORE_OUTPUT;
		}
		block.given = block.size = 0;
		size_t wanted = block.need - block.have, there = input_size - input_at;
		size_t taken = wanted < there ? wanted : there;
		memcpy(block.packed + block.have, input + input_at, taken);
		block.have += taken;
		input_at += taken;
		if (block.have < block.need)
			/* LZ4 has no mark at its end. */
			return is_last && stage == lz4_stage && block.stage == SIZES && block.have == 0 ? END : MORE_INPUT;
		enum status status = stage();
		if (status != MORE_INPUT)
			return status;
	}
}

static enum status open_blocks(size_t need)
{
	memset(&block, 0, sizeof(block));
	block.packed = malloc(LARGEST_PACKED + 16);
	block.plain = malloc(LARGEST_PLAIN);
	await(FRAME, need);
	return block.packed && block.plain ? MORE_INPUT : TOO_LARGE;
}

static enum format format;

/* Begins a stream. An instance unpacks one. */
EXPORT(inflate_open) int inflate_open(int wanted)
{
	format = wanted;
	switch (format) {
	case GZIP:
		/* 32: it sees which of the two headers there is, as sections of ELF files are packed with zlib's. */
		return inflateInit2(&gzip, 32 + MAX_WBITS) == Z_OK ? MORE_INPUT : TOO_LARGE;
	case XZ:
		return lzma_stream_decoder(&xz, MOST_MEMORY, LZMA_TELL_UNSUPPORTED_CHECK) == LZMA_OK ? MORE_INPUT
												      : TOO_LARGE;
	case LZMA:
		return lzma_alone_decoder(&xz, MOST_MEMORY) == LZMA_OK ? MORE_INPUT : TOO_LARGE;
	case BZIP2:
		return BZ2_bzDecompressInit(&bzip2, 0, 0) == BZ_OK ? MORE_INPUT : TOO_LARGE;
	case ZSTD:
		zstd = ZSTD_createDStream();
		if (zstd == NULL || ZSTD_isError(ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, LARGEST_WINDOW_LOG)))
			return TOO_LARGE;
		return MORE_INPUT;
	case LZ4:
		return open_blocks(4);
	case LZO:
		return open_blocks(LZOP_FIXED);
	default:
		return DAMAGED;
	}
}

/* One step on. @returns enum status; MORE_INPUT only where all of the input was taken */
EXPORT(inflate_step) int inflate_step(void)
{
	enum status status;
	output_size = 0;
	switch (format) {
	case GZIP:
		status = step_gzip();
		break;
	case XZ:
	case LZMA:
		status = step_lzma();
		break;
	case BZIP2:
		status = step_bzip2();
		break;
	case ZSTD:
		status = step_zstd();
		break;
	case LZ4:
		status = step_blocks(lz4_stage);
		break;
	case LZO:
		status = step_blocks(lzo_stage);
		break;
	default:
		return DAMAGED;
	}
	if (status == MORE_INPUT && (input_at < input_size || output_size == sizeof(output)))
		return MORE_OUTPUT;
	return status;
}

/* The C library's allocator asks for chance. None is to be had, and nothing is imported. */
uint16_t __wasi_random_get(uint8_t *bytes, size_t size)
{
	memset(bytes, 0, size);
	return 0;
}

/* Of bzip2's own checks, which it makes only where it is wrong itself. */
void bz_internal_error(int code)
{
	(void)code;
	__builtin_trap();
}
