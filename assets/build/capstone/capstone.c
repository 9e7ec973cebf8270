/*
 * Disassembles machine code of one architecture by Capstone, as text. It is built to WebAssembly, so that what hostile code does to it
 * stays in its own memory, and imports nothing.
 *
 * The caller puts code into `window`, calls decode(), and reads what it made: `texts` has a line with the mnemonic of each instruction
 * and one with its operands, `sizes` its bytes of code.
 */
#include <capstone/capstone.h>
#include <stdio.h>
#include <string.h>

#define EXPORTED(name) __attribute__((export_name(#name)))

enum {
	window_size = 1 << 14,
	/* Bytes that Capstone asks for: some 14 KiB for its table of arm64's instructions, and less than one for each instruction. */
	heap_size = 1 << 15,
	texts_size = 1 << 18,
	most_text = CS_MNEMONIC_SIZE + sizeof(((cs_insn *)0)->op_str) + 2,
};

uint8_t window[window_size];
uint8_t sizes[window_size];
char texts[texts_size];
/* Bytes that decode() left in `texts`. */
uint32_t text_size;

static _Alignas(16) uint8_t heap[heap_size];
static size_t heap_top;

/* What one instruction asked for is taken back with the next: nothing is freed by itself. */
void *malloc(size_t size)
{
	if (size > sizeof(heap) - heap_top)
		__builtin_trap();
	void *place = heap + heap_top;
	heap_top = (heap_top + size + 15) & ~(size_t)15;
	return place;
}

void *calloc(size_t count, size_t size)
{
	return memset(malloc(count * size), 0, count * size);
}

void *realloc(void *place, size_t size)
{
	(void)place;
	(void)size;
	__builtin_trap();
}

void free(void *place)
{
	(void)place;
}

/* Where Capstone tells of its own mistakes. */
FILE *const stderr;

int fprintf(FILE *file, const char *format, ...)
{
	(void)file;
	(void)format;
	__builtin_trap();
}

struct line {
	char *next, *end;
};

static void put(struct line *line, char one)
{
	if (line->next < line->end)
		*line->next++ = one;
}

static void put_number(struct line *line, uint64_t number, unsigned base, int width)
{
	char digits[24];
	int count = 0;

	do
		digits[count++] = "0123456789abcdef"[number % base];
	while ((number /= base) != 0);
	for (; width > count; width--)
		put(line, '0');
	while (count > 0)
		put(line, digits[--count]);
}

/* What Capstone's printers of these architectures ask for: %s %c %u %x, with ll or l, 0 and # and a width, and %.8f of floats that have no more places. */
int vsnprintf(char *to, size_t size, const char *format, va_list list)
{
	struct line line = { to, to + (size > 0 ? size - 1 : 0) };
	uint64_t number;
	double real;

	for (; *format != 0; format++) {
		if (*format != '%') {
			put(&line, *format);
			continue;
		}
		int is_marked = 0, is_long = 0, width = 0;
		for (format++; *format == '#' || *format == '.' || (*format >= '0' && *format <= '9'); format++)
			if (*format == '#')
				is_marked = 1;
			else if (*format != '.')
				width = 10 * width + *format - '0';
		for (; *format == 'l'; format++)
			is_long++;
		switch (*format) {
		case 's':
			for (const char *text = va_arg(list, const char *); *text != 0; text++)
				put(&line, *text);
			break;
		case 'c':
			put(&line, (char)va_arg(list, int));
			break;
		case 'u':
		case 'x':
			number = is_long == 2 ? va_arg(list, uint64_t) : va_arg(list, unsigned);
			if (is_marked && number != 0) {
				put(&line, '0');
				put(&line, *format);
				width -= 2;
			}
			put_number(&line, number, *format == 'u' ? 10 : 16, width);
			break;
		case 'f':
			real = va_arg(list, double);
			if (real < 0)
				put(&line, '-');
			real = __builtin_fabs(real);
			number = (uint64_t)real;
			put_number(&line, number, 10, 0);
			put(&line, '.');
			put_number(&line, (uint64_t)((real - number) * 1e8), 10, 8);
			break;
		default:
			__builtin_trap();
		}
	}
	if (size > 0)
		*line.next = 0;
	return (int)(line.next - to);
}

static csh handle;
static size_t heap_open;

static bool next(const uint8_t **code, size_t *size, uint64_t *address, cs_insn *one)
{
	heap_top = heap_open;
	return cs_disasm_iter(handle, code, size, address, one);
}

static void open(void)
{
	cs_insn one;
	const uint8_t *code = window;
	size_t size = 16;
	uint64_t address = 0;

	if (cs_open(ARCH, MODE, &handle) != CS_ERR_OK)
		__builtin_trap();
	/* It keeps a table from the first instruction on. */
	heap_open = heap_top;
	next(&code, &size, &address, &one);
	heap_open = heap_top;
}

static void put_text(const char *text)
{
	size_t length = strlen(text);

	memcpy(texts + text_size, text, length);
	texts[text_size + length] = '\n';
	text_size += length + 1;
}

/*
 * Decodes the first `size` bytes of the window, up to the first that are no instruction, as one that the window's end cuts, or until there
 * is no room for more text.
 * @returns the instructions
 */
EXPORTED(decode) uint32_t decode(uint32_t size, double first)
{
	cs_insn one;
	const uint8_t *code = window;
	size_t left = size;
	uint64_t address = (uint64_t)first;
	uint32_t count = 0;

	if (handle == 0)
		open();
	text_size = 0;
	while (left > 0 && text_size < texts_size - most_text && next(&code, &left, &address, &one)) {
		sizes[count++] = (uint8_t)one.size;
		put_text(one.mnemonic);
		put_text(one.op_str);
	}
	return count;
}
