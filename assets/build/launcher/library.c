#include "launcher.h"

/* Of a file's beginning; real ones have their program headers in the first kilobyte. */
#define HEAD 2048

struct image {
	union {
		Elf64_Ehdr header;
		char bytes[HEAD];
	};
	const Elf64_Phdr *segments;
};

static int read_head(long fd, struct image *image)
{
	Elf64_Ehdr *header = &image->header;
	if (call(NR_pread64, fd, (long)image->bytes, HEAD, 0, 0, 0) < (long)sizeof(*header)) return 0;
	if (!behind((char *)header->e_ident, ELFMAG) || header->e_ident[EI_CLASS] != ELFCLASS64) return 0;
	if (header->e_machine != MACHINE || header->e_type != ET_DYN || header->e_phentsize != sizeof(Elf64_Phdr)) return 0;
	if (header->e_phoff > HEAD || header->e_phnum > (HEAD - header->e_phoff) / sizeof(Elf64_Phdr)) return 0;
	image->segments = (const Elf64_Phdr *)(image->bytes + header->e_phoff);
	return 1;
}

static uint64_t up(uint64_t value, uint64_t page) { return (value + page - 1) & -page; }
static uint64_t down(uint64_t value, uint64_t page) { return value & -page; }

/* Maps one segment as the kernel does: what the file does not fill is zero. */
static int map_segment(long fd, const Elf64_Phdr *segment, uint64_t bias, uint64_t page)
{
	int prot = (segment->p_flags & PF_R ? PROT_READ : 0) | (segment->p_flags & PF_W ? PROT_WRITE : 0) |
		   (segment->p_flags & PF_X ? PROT_EXEC : 0);
	uint64_t start = down(bias + segment->p_vaddr, page);
	uint64_t filled = bias + segment->p_vaddr + segment->p_filesz;
	uint64_t end = up(bias + segment->p_vaddr + segment->p_memsz, page);
	uint64_t mapped = start;
	if (segment->p_filesz > 0) {
		mapped = up(filled, page);
		uint64_t offset = down(segment->p_offset, page);
		if (failed(map(start, mapped - start, prot, MAP_PRIVATE | MAP_FIXED, fd, offset))) return 0;
	}
	if (segment->p_memsz == segment->p_filesz) return 1;
	for (volatile char *rest = (char *)filled; segment->p_filesz > 0 && rest < (char *)mapped; rest++) *rest = 0;
	int flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS;
	return end <= mapped || !failed(map(mapped, end - mapped, prot, flags, -1, 0));
}

/* The dynamic linker calls itself by this name; what others leave at its path (NixOS, gcompat) has another, or none. */
static int is_glibcs(const Elf64_Dyn *entry, uint64_t bias)
{
	uint64_t strings = 0, name = 0;
	for (; entry->d_tag != DT_NULL; entry++) {
		if (entry->d_tag == DT_STRTAB) strings = entry->d_un.d_ptr;
		if (entry->d_tag == DT_SONAME) name = entry->d_un.d_val;
	}
	const char *own = GLIBC_LOADER;
	for (const char *at = own; *at; at++)
		if (*at == '/') own = at + 1;
	return strings != 0 && name != 0 && same((const char *)(bias + strings + name), own);
}

static int map_loader(long fd, uint64_t page, struct library *library)
{
	struct image image;
	long length = call(NR_lseek, fd, 0, SEEK_END, 0, 0, 0);
	if (failed(length) || !read_head(fd, &image)) return 0;
	int count = image.header.e_phnum;
	uint64_t low = -1UL, high = 0;
	const Elf64_Phdr *dynamic = NULL;
	for (const Elf64_Phdr *one = image.segments; one < image.segments + count; one++) {
		if (one->p_type == PT_DYNAMIC) dynamic = one;
		if (one->p_type != PT_LOAD) continue;
		/* What is not in the file could be mapped, and would end the program when it is read. */
		if (one->p_offset > (uint64_t)length || one->p_filesz > (uint64_t)length - one->p_offset) return 0;
		if (one->p_vaddr < low) low = down(one->p_vaddr, page);
		if (one->p_vaddr + one->p_memsz > high) high = up(one->p_vaddr + one->p_memsz, page);
	}
	if (low >= high || dynamic == NULL) return 0;
	long area = map(0, high - low, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (failed(area)) return 0;
	uint64_t bias = area - low;
	int is_whole = 1;
	for (const Elf64_Phdr *one = image.segments; one < image.segments + count; one++)
		if (one->p_type == PT_LOAD) is_whole &= map_segment(fd, one, bias, page);
	if (!is_whole || !is_glibcs((const Elf64_Dyn *)(bias + dynamic->p_vaddr), bias)) {
		unmap(area, high - low);
		return 0;
	}
	library->base = bias;
	library->entry = bias + image.header.e_entry;
	return 1;
}

/* The place in a file of what will be at an address, if so many bytes are there; else 0. */
static uint64_t place(const struct image *image, uint64_t address, uint64_t size, uint64_t length)
{
	for (int index = 0; index < image->header.e_phnum; index++) {
		const Elf64_Phdr *one = &image->segments[index];
		if (one->p_type != PT_LOAD || address < one->p_vaddr || address - one->p_vaddr >= one->p_filesz) continue;
		uint64_t at = one->p_offset + (address - one->p_vaddr);
		return at < length && size <= length - at ? at : 0;
	}
	return 0;
}

/* Whether a library defines a version node: nodes are never taken away, so that one names a version and all newer ones. */
static int has_node(const struct image *image, const char *file, uint64_t length, const volatile char *node)
{
	uint64_t dynamic = 0, size = 0;
	for (int index = 0; index < image->header.e_phnum; index++)
		if (image->segments[index].p_type == PT_DYNAMIC) {
			size = image->segments[index].p_filesz;
			dynamic = place(image, image->segments[index].p_vaddr, size, length);
		}
	if (dynamic == 0) return 0;
	uint64_t strings = 0, strings_size = 0, nodes = 0, left = 0;
	for (const Elf64_Dyn *one = (const void *)(file + dynamic); size >= sizeof(*one); one++, size -= sizeof(*one)) {
		if (one->d_tag == DT_STRTAB) strings = one->d_un.d_ptr;
		if (one->d_tag == DT_STRSZ) strings_size = one->d_un.d_val;
		if (one->d_tag == DT_VERDEF) nodes = one->d_un.d_ptr;
		if (one->d_tag == DT_VERDEFNUM) left = one->d_un.d_val;
	}
	uint64_t text = place(image, strings, strings_size, length);
	/* The last name ends in the table. */
	if (text == 0 || strings_size == 0 || file[text + strings_size - 1] != 0) return 0;
	for (; left > 0; left--) {
		uint64_t at = place(image, nodes, sizeof(Elf64_Verdef), length);
		if (at == 0) return 0;
		const Elf64_Verdef *definition = (const void *)(file + at);
		uint64_t name = place(image, nodes + definition->vd_aux, sizeof(Elf64_Verdaux), length);
		if (name == 0) return 0;
		uint64_t offset = ((const Elf64_Verdaux *)(file + name))->vda_name;
		if (offset < strings_size && same(file + text + offset, (const char *)node)) return 1;
		if (definition->vd_next == 0) return 0;
		nodes += definition->vd_next;
	}
	return 0;
}

/* Whether the C library beside the dynamic linker is as new as Bun asks for; older ones would end the program with a list. */
static int is_new_enough(long loader)
{
	static const char name[] = "libc.so.6";
	char path[4096], link[] = "/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
	char *digit = link + sizeof("/proc/self/fd/") - 1;
	long unit = 1;
	while (loader / unit > 9) unit *= 10;
	for (; unit > 0; unit /= 10) *digit++ = '0' + loader / unit % 10;
	long length = call(NR_readlinkat, AT_FDCWD, (long)link, (long)path, sizeof(path) - sizeof(name), 0, 0);
	if (failed(length)) return 0;
	while (length > 0 && path[length - 1] != '/') length--;
	for (size_t index = 0; index < sizeof(name); index++) path[length + index] = name[index];

	long fd = open_file(path);
	if (failed(fd)) return 0;
	struct image image;
	int is_new = 0;
	long size = call(NR_lseek, fd, 0, SEEK_END, 0, 0, 0);
	if (!failed(size) && size > 0 && read_head(fd, &image)) {
		long file = map(0, size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (!failed(file)) {
			is_new = has_node(&image, (const char *)file, size, config.glibc);
			unmap(file, size);
		}
	}
	close_file(fd);
	return is_new;
}

int map_host_library(struct library *library, uint64_t page)
{
	long fd = open_file(GLIBC_LOADER);
	if (failed(fd)) return 0;
	int is_mapped = is_new_enough(fd) && map_loader(fd, page, library);
	close_file(fd);
	return is_mapped;
}
