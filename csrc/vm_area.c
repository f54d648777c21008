/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vm_area.c -- the address space that real mappings are made of
 *
 * Owns: a descriptor of the process's page map.  Locks: open_lock, to open it.
 * Kernel: mm/mmap.c, mm/madvise.c; fs/proc/task_mmu.c, PAGEMAP_SCAN (6.7).
 */
#define _GNU_SOURCE
#include "vm_area.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "daxcore/types.h"
#include "move.h"
#include "sys.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum {
	PAGE = DAX_PAGE_SIZE,
	HUGE = DAX_PMD_SIZE,
	COLLAPSE_NS = 50000000,	/* a hundred times what it takes */
	MAX_SKIP = 1024
};

/* ---- areas ------------------------------------------------------------------------ */

int vm_area_reserve(void **ret_addr, size_t len, size_t phase)
{
	size_t room = len + HUGE + phase;
	char *addr, *start;

	if (room < len || dax_test_fail_alloc(room))
		return -ENOMEM;
	addr = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	if (addr == MAP_FAILED)
		return sys_map_result(addr);
	start = (char *)(((uintptr_t)addr + HUGE - 1) & ~(uintptr_t)(HUGE - 1)) + phase;
	if (start != addr)
		munmap(addr, (size_t)(start - addr));
	if (start + len != addr + room)
		munmap(start + len, (size_t)(addr + room - (start + len)));
	*ret_addr = start;
	return 0;
}

void vm_area_release(void *addr, size_t len)
{
	munmap(addr, len);
}

/* Neighbours merge only if they were advised alike. */
int vm_area_replace(void *addr, size_t len)
{
	void *at = mmap(addr, len, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

	if (at == MAP_FAILED)
		return sys_map_result(at);
	if (vm_area_has_huge_zero())
		madvise(addr, len, MADV_HUGEPAGE);
	madvise(addr, len, MADV_DONTDUMP);
	madvise(addr, len, MADV_DONTFORK);
	return 0;
}

static int prot_bits(bool read, bool write)
{
	return (read ? PROT_READ : PROT_NONE) | (write ? PROT_WRITE : 0);
}

int vm_area_protect(void *addr, size_t len, bool read, bool write)
{
	return (int)sys_result(mprotect(addr, len, prot_bits(read, write)));
}

int vm_area_map_file(void *addr, size_t len, int fd, uint64_t offset, bool write,
		     bool shared)
{
	void *at = mmap(addr, len, prot_bits(true, write),
			MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE), fd,
			(off_t)offset);

	return sys_map_result(at);
}

static int64_t count_areas(void)
{
	char buf[16384];
	int64_t lines = 0, n;
	int fd = sys_open("/proc/self/maps", false);

	if (fd < 0)
		return fd;
	while ((n = sys_read(fd, buf, sizeof(buf))) > 0)
		for (int64_t i = 0; i < n; i++)
			lines += buf[i] == '\n';
	sys_close(fd);
	return n < 0 ? n : lines;
}

static int64_t areas_allowed(void)
{
	char line[32];

	if (sys_read_line("/proc/sys/vm/max_map_count", line, sizeof(line)))
		return 65530;
	return atoll(line);
}

/* Where nothing can be counted the kernel's own refusal is met. */
static int64_t ask_room(void)
{
	int64_t nr = count_areas();

	return nr < 0 ? INT64_MAX : (areas_allowed() * 3 / 5 - nr) / 2;
}

bool vm_area_has_room(void)
{
	static struct mutex count_lock;
	static _Atomic int64_t left;	/* changes until they are to be counted */
	int64_t room;

	if (likely(atomic_fetch_sub(&left, 1) > 0))
		return true;
	mutex_lock(&count_lock);
	room = ask_room();
	atomic_store(&left, room);
	mutex_unlock(&count_lock);
	return room > 0;
}

/* A file of no bytes: all of it lies behind the end. */
static int empty_file(void)
{
	static struct mutex open_lock;
	static int fd = -1;
	int ret;

	mutex_lock(&open_lock);
	if (fd < 0)
		fd = sys_memfd("daxcore-nothing");
	ret = fd;
	mutex_unlock(&open_lock);
	return ret;
}

int vm_area_map_nothing(void *addr, size_t len, bool write)
{
	int fd = empty_file();

	return fd < 0 ? fd : vm_area_map_file(addr, len, fd, 0, write, true);
}

/*
 * Where memory is in pieces the kernel may look for 2 MiB for very long, and where
 * it cannot have them at all it says so: then it is left in peace the next times,
 * twice as many after each try that was no use.  (Memory that the machine has to
 * fetch from a hypervisor takes ten milliseconds, in small pages too.)
 */
static void collapse(char *addr, size_t len)
{
	static _Atomic uint32_t skip, patience;
	uint32_t left = READ_ONCE(skip);
	uint64_t start = sys_clock_ns();
	bool good;

	if (left) {
		WRITE_ONCE(skip, left - 1);
		return;
	}
	good = !madvise(addr, len, MADV_COLLAPSE) &&
	       sys_clock_ns() - start < len / HUGE * COLLAPSE_NS;
	WRITE_ONCE(patience, good ? 0 : (2 * READ_ONCE(patience) + 1) % MAX_SKIP);
	WRITE_ONCE(skip, READ_ONCE(patience));
}

void vm_area_populate_write(void *addr, size_t len, bool huge)
{
	if (huge && ((uintptr_t)addr | len) % HUGE == 0 && !sys_feature_disabled("thp")) {
		madvise(addr, PAGE, MADV_POPULATE_WRITE);	/* none is not enough */
		collapse(addr, len);
	}
	madvise(addr, len, MADV_POPULATE_WRITE);
}

/* What is locked is refused to the first, and kernels before 5.18 lack the second. */
void vm_area_discard(void *addr, size_t len)
{
	if (!madvise(addr, len, MADV_DONTNEED) ||
	    !madvise(addr, len, MADV_DONTNEED_LOCKED))
		return;
	munlock(addr, len);
	madvise(addr, len, MADV_DONTNEED);
}

/* ---- the huge zero page ----------------------------------------------------------- */

static bool first_line_has(const char *path, const char *what)
{
	char line[128];

	return !sys_read_line(path, line, sizeof(line)) && strstr(line, what);
}

static bool ask_huge_zero(void)
{
	static const char enabled[] = "/sys/kernel/mm/transparent_hugepage/enabled";
	static const char zero[] = "/sys/kernel/mm/transparent_hugepage/use_zero_page";

	return !sys_feature_disabled("thp") && !first_line_has(enabled, "[never]") &&
	       first_line_has(zero, "1");
}

bool vm_area_has_huge_zero(void)
{
	static _Atomic int known;	/* 0: not yet asked, 1: no, 2: yes */

	if (!READ_ONCE(known))
		WRITE_ONCE(known, ask_huge_zero() ? 2 : 1);
	return READ_ONCE(known) == 2;
}

int vm_area_populate_huge_zero(void *addr, size_t len)
{
	if (!vm_area_has_huge_zero())
		return -EOPNOTSUPP;
	return (int)sys_result(madvise(addr, len, MADV_POPULATE_READ));
}

/* ---- the page map ------------------------------------------------------------------- */

struct page_region {
	uint64_t start, end, categories;
};

struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define DAX_PAGEMAP_SCAN	_IOWR('f', 16, struct pm_scan_arg)

enum {
	PAGE_IS_WPALLOWED = 1 << 0,
	PAGE_IS_WRITTEN = 1 << 1,
	PAGE_IS_FILE = 1 << 2,
	PAGE_IS_PRESENT = 1 << 3,
	PAGE_IS_SWAPPED = 1 << 4,
	PAGE_IS_PFNZERO = 1 << 5,
	REGIONS = 64
};

/* Bits of a word of the page map. */
#define PM_EXCLUSIVE	(UINT64_C(1) << 56)
#define PM_PROTECTED	(UINT64_C(1) << 57)
#define PM_FILE		(UINT64_C(1) << 61)
#define PM_SWAPPED	(UINT64_C(1) << 62)
#define PM_PRESENT	(UINT64_C(1) << 63)

/* It shows the memory of whoever opened it: a child opens its own. */
static int pagemap_fd(void)
{
	static struct mutex open_lock;
	static unsigned int generation;
	static int fd = -1;
	int ret;

	mutex_lock(&open_lock);
	if (fd < 0 || generation != sys_fork_generation) {
		if (fd >= 0)
			sys_close(fd);
		fd = sys_open("/proc/self/pagemap", false);
		generation = sys_fork_generation;
	}
	ret = fd;
	mutex_unlock(&open_lock);
	return ret;
}

bool vm_area_can_look(void)
{
	return pagemap_fd() >= 0;
}

int vm_area_look(const void *page)
{
	int fd = pagemap_fd();
	uint64_t word;
	int64_t n;

	if (fd < 0)
		return fd;
	n = sys_pread(fd, &word, sizeof(word), (uintptr_t)page / PAGE * sizeof(word));
	if (n != sizeof(word))
		return n < 0 ? (int)n : -EIO;
	return (word & (PM_PRESENT | PM_SWAPPED) ? VM_AREA_PAGE_THERE : 0) |
	       (word & PM_PROTECTED ? VM_AREA_PAGE_PROTECTED : 0);
}

/* What is asked of the pages of a range. */
struct page_query {
	uint64_t all, none, any;	/* for the scan; any: 0 asks nothing */
	bool (*match)(uint64_t word);	/* for kernels without it */
};

static int64_t scan(int fd, const char *addr, size_t len,
		    const struct page_query *query, uint64_t *ret_pages, size_t nr)
{
	struct page_region region[REGIONS];
	uint64_t start = (uintptr_t)addr, end = start + len;
	size_t filled = 0;

	while (start < end && filled < nr) {
		struct pm_scan_arg arg = {
			.size = sizeof(arg), .start = start, .end = end,
			.vec = (uintptr_t)region, .vec_len = REGIONS,
			.category_inverted = query->none,
			.category_mask = query->all | query->none,
			.category_anyof_mask = query->any,
			.return_mask = PAGE_IS_PRESENT,
		};
		int found = sys_ioctl(fd, DAX_PAGEMAP_SCAN, &arg);

		if (found < 0)
			return found;
		for (int i = 0; i < found; i++)
			for (uint64_t at = region[i].start;
			     at < region[i].end && filled < nr; at += PAGE)
				ret_pages[filled++] = (at - (uintptr_t)addr) / PAGE;
		start = arg.walk_end;
	}
	return (int64_t)filled;
}

static int64_t read_words(int fd, const char *addr, size_t len,
			  bool (*match)(uint64_t word), uint64_t *ret_pages, size_t nr)
{
	uint64_t word[512];
	size_t filled = 0;

	for (size_t done = 0; done < len && filled < nr;) {
		size_t want = (len - done) / PAGE;
		int64_t n;

		want = want < 512 ? want : 512;
		n = sys_pread(fd, word, want * sizeof(word[0]),
			      ((uintptr_t)addr + done) / PAGE * sizeof(word[0]));
		if (n <= 0)
			return n ? n : -EIO;
		for (size_t i = 0; i < (size_t)n / sizeof(word[0]) && filled < nr; i++)
			if (match(word[i]))
				ret_pages[filled++] = done / PAGE + i;
		done += (size_t)n / sizeof(word[0]) * PAGE;
	}
	return (int64_t)filled;
}

static int64_t find_pages(const void *addr, size_t len, const struct page_query *query,
			  uint64_t *ret_pages, size_t nr)
{
	int fd = pagemap_fd();
	int64_t ret = -ENOTTY;

	if (fd < 0)
		return fd;
	if (!sys_feature_disabled("pagemap_scan"))
		ret = scan(fd, addr, len, query, ret_pages, nr);
	if (query->match && (ret == -ENOTTY || ret == -EINVAL))
		ret = read_words(fd, addr, len, query->match, ret_pages, nr);
	return ret;
}

static bool is_private(uint64_t word)
{
	return word & PM_SWAPPED || (word & PM_PRESENT && word & PM_EXCLUSIVE);
}

static bool is_copied(uint64_t word)
{
	return word & (PM_SWAPPED | PM_PRESENT) && !(word & PM_FILE);
}

/* The process may not see its page map: a page that holds zeroes is as good as
 * the zero page. */
static int64_t nonzero_pages(const char *addr, size_t len, uint64_t *ret_pages,
			     size_t nr)
{
	size_t filled = 0;

	for (size_t i = 0; i < len / PAGE && filled < nr; i++)
		if (!mem_is_zero(addr + i * PAGE, PAGE))
			ret_pages[filled++] = i;
	return (int64_t)filled;
}

int64_t vm_area_private_pages(const void *addr, size_t len, uint64_t *ret_pages,
			      size_t nr)
{
	static const struct page_query query = {
		.none = PAGE_IS_PFNZERO, .any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.match = is_private,
	};
	int64_t ret = find_pages(addr, len, &query, ret_pages, nr);

	return ret < 0 ? nonzero_pages(addr, len, ret_pages, nr) : ret;
}

int64_t vm_area_copied_pages(const void *addr, size_t len, uint64_t *ret_pages,
			     size_t nr)
{
	static const struct page_query query = {
		.none = PAGE_IS_FILE, .any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.match = is_copied,
	};

	return find_pages(addr, len, &query, ret_pages, nr);
}

static bool is_present(uint64_t word)
{
	return word & PM_PRESENT;
}

int64_t vm_area_present_pages(const void *addr, size_t len, uint64_t *ret_pages,
			      size_t nr)
{
	static const struct page_query query = {
		.all = PAGE_IS_PRESENT, .match = is_present,
	};

	return find_pages(addr, len, &query, ret_pages, nr);
}

int64_t vm_area_written_pages(const void *addr, size_t len, uint64_t *ret_pages,
			      size_t nr)
{
	static const struct page_query query = {
		.all = PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN,
	};

	return find_pages(addr, len, &query, ret_pages, nr);
}

int64_t vm_area_async_pages(const void *addr, size_t len, uint64_t *ret_pages,
			    size_t nr)
{
	static const struct page_query query = { .all = PAGE_IS_WPALLOWED };

	return find_pages(addr, len, &query, ret_pages, nr);
}

bool vm_area_can_scan(void)
{
	static const char page[PAGE] __attribute__((aligned(PAGE)));
	uint64_t found;

	return vm_area_written_pages(page, PAGE, &found, 1) >= 0;
}
