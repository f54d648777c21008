/* SPDX-License-Identifier: BSD-3-Clause */
/* test_clone.c -- files that share blocks: clone, clone a range, dedupe */
#define _GNU_SOURCE
#include "clone.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "fixture.h"
#include "invariants.h"
#include "mock_map.h"
#include "oom.h"
#include "tmpdir.h"

enum { MIB = 1 << 20, MAX_FILES = 8, ROWS = 32 };

/* Files of the device under test: their invariants are looked at together. */
static struct dax_device *dev;
static struct dax_mapping *files[MAX_FILES];
static unsigned int nr_files;

static struct dax_mapping *keep(struct dax_mapping *mapping)
{
	MUST(nr_files < MAX_FILES);
	return files[nr_files++] = mapping;
}

static void open_device(uint64_t size)
{
	dev = new_device(size);
	nr_files = 0;
}

static void check_all(void)
{
	for (unsigned int i = 0; i < nr_files; i++)
		check_invariants(files[i]);
	check_owners(dev, files, nr_files);
}

static void close_device(void)
{
	check_all();
	for (unsigned int i = 0; i < nr_files; i++)
		dax_mapping_put(files[i]);
	EQ(dax_device_free_bytes(dev), dax_device_size(dev));
	dax_device_put(dev);
}

static struct dax_mapping *file_of(dax_loff_t size)
{
	return keep(new_file(dev, size));
}

static struct dax_mapping *clone_of(struct dax_mapping *src)
{
	struct dax_mapping *mapping = NULL;

	MUST(!dax_mapping_clone(&mapping, src));
	return keep(mapping);
}

static uint64_t free_pages_of(void)
{
	return dax_device_free_bytes(dev) / DAX_PAGE_SIZE;
}

static struct dax_extent row[ROWS];

static int64_t extents(struct dax_mapping *mapping)
{
	dax_loff_t pos = 0;

	return dax_mapping_extents(mapping, &pos, row, ROWS);
}

static void is_row(int i, unsigned int type, int64_t page, int64_t pages,
		   unsigned int flags)
{
	EQ(row[i].type, type);
	EQ(row[i].offset, page * PAGE);
	EQ(row[i].length, pages * PAGE);
	EQ(row[i].flags, flags);
}

/* ---- what a clone is -------------------------------------------------------------- */

static void shows_the_same(void)
{
	struct dax_mapping *a, *b;
	uint64_t left;

	open_device(MIB);
	a = file_of(20 * PAGE + 7);
	EQ(fill(a, 2 * PAGE, 3 * PAGE, 'a'), 3 * PAGE);
	EQ(dax_mapping_fallocate(a, 8 * PAGE, 2 * PAGE), 0);
	left = free_pages_of();
	b = clone_of(a);
	EQ(free_pages_of(), left);		/* nothing was copied */
	EQ(dax_mapping_size(b), 20 * PAGE + 7);
	EQ(dax_mapping_policy(b), DAX_POLICY_ZERO_PAGE);
	CHECK(dax_mapping_device(b) == dev);
	CHECK(all_bytes(b, 0, 2 * PAGE, 0) && all_bytes(b, 2 * PAGE, 3 * PAGE, 'a') &&
	      all_bytes(b, 5 * PAGE, 15 * PAGE + 7, 0));
	for (unsigned int i = 0; i < 2; i++) {
		EQ(extents(files[i]), 5);
		is_row(0, DAX_IOMAP_HOLE, 0, 2, 0);
		is_row(1, DAX_IOMAP_MAPPED, 2, 3, DAX_IOMAP_F_SHARED);
		is_row(3, DAX_IOMAP_UNWRITTEN, 8, 2, DAX_IOMAP_F_SHARED);
	}
	EQ(gauge_of(b, DAX_GAUGE_ALLOCATED_BYTES), 5 * PAGE);
	close_device();
}

static void empty_and_holes(void)
{
	struct dax_mapping *a, *b;

	open_device(MIB);
	b = clone_of(file_of(0));
	EQ(dax_mapping_size(b), 0);
	a = file_of((dax_loff_t)1 << 40);
	b = clone_of(a);
	EQ(dax_mapping_size(b), (dax_loff_t)1 << 40);
	EQ(put(b, ((dax_loff_t)1 << 40) - 1, 'x'), 0);	/* its tree is tall enough */
	EQ(get(a, ((dax_loff_t)1 << 40) - 1), 0);
	close_device();
}

/* Rows of extents() end where sharing does. */
static void rows_by_sharing(void)
{
	struct dax_mapping *a;

	open_device(MIB);
	a = file_of(6 * PAGE);
	EQ(fill(a, 0, 6 * PAGE, 'a'), 6 * PAGE);
	clone_of(a);
	EQ(put(files[1], 2 * PAGE, 'b'), 0);
	EQ(extents(a), 3);
	is_row(0, DAX_IOMAP_MAPPED, 0, 2, DAX_IOMAP_F_SHARED);
	is_row(1, DAX_IOMAP_MAPPED, 2, 1, 0);
	is_row(2, DAX_IOMAP_MAPPED, 3, 3, DAX_IOMAP_F_SHARED);
	close_device();
}

/* ---- bytes stay apart --------------------------------------------------------------- */

/* Every way to write, to either file; the other one never sees it. */
static void writes_stay_apart(void)
{
	struct dax_mapping *a, *b;
	struct dax_vma *va, *vb, *second, *private;

	open_device(MIB);
	a = file_of(8 * PAGE);
	EQ(fill(a, 0, 8 * PAGE, 'o'), 8 * PAGE);
	va = map_shared(a, 8 * PAGE);
	EQ(store(va, 0, 'o'), 0);		/* a writable leaf from before */
	b = clone_of(a);
	check_all();
	vb = map_shared(b, 8 * PAGE);
	second = map_shared(b, 8 * PAGE);
	private = map_private(b, 8 * PAGE);
	for (int i = 0; i < 8; i++) {
		EQ(load(va, (uint64_t)(i * PAGE)), 'o');
		EQ(load(vb, (uint64_t)(i * PAGE)), 'o');
		EQ(load(second, (uint64_t)(i * PAGE)), 'o');
		EQ(load(private, (uint64_t)(i * PAGE)), 'o');
	}
	check_all();
	EQ(store(va, 0, 'A'), 0);
	EQ(put(a, PAGE, 'A'), 0);
	EQ(store(vb, 2 * DAX_PAGE_SIZE, 'B'), 0);
	EQ(put(b, 3 * PAGE, 'B'), 0);
	EQ(store(private, 4 * DAX_PAGE_SIZE, 'P'), 0);
	check_all();
	EQ(load(vb, 0), 'o');
	EQ(get(b, PAGE), 'o');
	EQ(load(second, 2 * DAX_PAGE_SIZE), 'B');
	EQ(load(second, 3 * DAX_PAGE_SIZE), 'B');
	EQ(load(private, 3 * DAX_PAGE_SIZE), 'B');
	CHECK(all_bytes(a, 2 * PAGE, 6 * PAGE, 'o'));
	EQ(get(a, 1), 'o');			/* the rest of a page was copied */
	EQ(get(b, 4 * PAGE), 'o');
	EQ(get(a, 0), 'A');
	dax_vma_put(private);
	dax_vma_put(second);
	dax_vma_put(vb);
	dax_vma_put(va);
	close_device();
}

static void three_owners(void)
{
	struct dax_mapping *a, *b, *c;

	open_device(MIB);
	a = file_of(2 * PAGE);
	EQ(fill(a, 0, 2 * PAGE, 'a'), 2 * PAGE);
	b = clone_of(a);
	c = clone_of(b);
	EQ(free_pages_of(), 256 - 2);
	check_all();
	EQ(put(b, 0, 'b'), 0);
	EQ(put(c, 0, 'c'), 0);
	EQ(free_pages_of(), 256 - 4);
	check_all();
	EQ(put(a, 0, 'A'), 0);			/* its block is its own by now */
	EQ(free_pages_of(), 256 - 4);
	EQ(get(b, 0) + get(c, 0), 'b' + 'c');
	dax_mapping_put(a);			/* the source goes first */
	files[0] = files[--nr_files];
	check_all();
	EQ(get(b, PAGE), 'a');
	close_device();
}

/* A clone of UNWRITTEN blocks: they read as zeroes, and a store gets a block
 * that is zero, whatever the one set aside holds. */
static void unwritten(void)
{
	struct dax_mapping *a, *b;
	struct dax_vma *vma;

	open_device(MIB);
	a = file_of(MIB);
	EQ(fill(a, 0, MIB, 's'), MIB);		/* the device is all stained */
	EQ(dax_mapping_punch_hole(a, 0, MIB), 0);
	EQ(dax_mapping_fallocate(a, 0, 6 * PAGE), 0);
	b = clone_of(a);
	vma = map_shared(b, 6 * PAGE);
	EQ(load(vma, 0), 0);
	EQ(store(vma, 5, 'b'), 0);
	CHECK(all_bytes(b, 0, 5, 0) && all_bytes(b, 6, PAGE - 6, 0));
	EQ(fill(b, PAGE + 5, 2 * PAGE, 'b'), 2 * PAGE);
	CHECK(all_bytes(b, PAGE, 5, 0) && all_bytes(b, 3 * PAGE + 5, PAGE - 5, 0));
	CHECK(all_bytes(a, 0, 6 * PAGE, 0));
	check_all();
	EQ(put(a, 5 * PAGE + 9, 'a'), 0);
	CHECK(all_bytes(a, 5 * PAGE, 9, 0) && all_bytes(b, 5 * PAGE, PAGE, 0));
	dax_vma_put(vma);
	close_device();
}

/* Edges of a punch, and what lies past the end: zeroed in a copy. */
static void edges(void)
{
	struct dax_mapping *a, *b;
	struct dax_vma *vma;

	open_device(MIB);
	a = file_of(6 * PAGE);
	EQ(fill(a, 0, 6 * PAGE, 'a'), 6 * PAGE);
	b = clone_of(a);
	vma = map_shared(b, 6 * PAGE);
	EQ(load(vma, 0), 'a');
	EQ(load(vma, 5 * DAX_PAGE_SIZE), 'a');
	EQ(dax_mapping_punch_hole(b, 100, 2 * PAGE), 0);
	check_all();
	EQ(load(vma, 0), 'a');
	EQ(load(vma, 100), 0);
	EQ(dax_mapping_truncate(b, 5 * PAGE + 10), 0);
	check_all();
	EQ(load(vma, 5 * DAX_PAGE_SIZE + 9), 'a');
	EQ(load(vma, 5 * DAX_PAGE_SIZE + 10), 0);
	CHECK(all_bytes(a, 0, 6 * PAGE, 'a'));
	dax_vma_put(vma);
	close_device();
}

/* A tail that is shared is zeroed in a copy when the file grows: by truncate,
 * by fallocate, by a write behind it. */
static void growth(int way)
{
	struct dax_mapping *a, *b;
	struct dax_vma *va;

	open_device(MIB);
	a = file_of(PAGE + 10);
	va = map_shared(a, 2 * PAGE);
	EQ(store(va, DAX_PAGE_SIZE + 9, 'a'), 0);
	EQ(store(va, DAX_PAGE_SIZE + 20, 'x'), 0);	/* past the end */
	b = clone_of(a);
	if (way == 0)
		EQ(dax_mapping_truncate(b, 4 * PAGE), 0);
	else if (way == 1)
		EQ(dax_mapping_fallocate(b, 3 * PAGE, PAGE), 0);
	else
		EQ(fill(b, 3 * PAGE, PAGE, 0), PAGE);
	EQ(get(b, PAGE + 9), 'a');
	EQ(get(b, PAGE + 20), 0);
	EQ(load(va, DAX_PAGE_SIZE + 20), 'x');
	EQ(dax_mapping_size(b), 4 * PAGE);
	dax_vma_put(va);
	close_device();
}

static void growth_every_way(void)
{
	for (int way = 0; way < 3; way++)
		growth(way);
}

static void page_cache_policy(void)
{
	struct dax_mapping *a, *b;
	struct dax_vma *va, *vb;

	open_device(8 * MIB);
	a = keep(new_cached_file(dev, 2 * PMD, DAX_PAGE_POOL_COLD));
	EQ(fill(a, 0, (size_t)PMD, 'a'), PMD);
	va = map_shared(a, 2 * PMD);
	EQ(load(va, (uint64_t)PMD), 0);		/* a page of its own */
	b = clone_of(a);
	EQ(dax_mapping_policy(b), DAX_POLICY_PAGE_CACHE);
	vb = map_shared(b, 2 * PMD);
	EQ(load(vb, 0), 'a');			/* a leaf, to be made writable */
	EQ(load(va, 0), 'a');
	EQ(store(vb, 0, 'b'), 0);
	EQ(load(va, 0), 'a');
	EQ(store(va, DAX_PAGE_SIZE, 'A'), 0);
	EQ(load(vb, DAX_PAGE_SIZE), 'a');
	EQ(load(vb, (uint64_t)PMD), 0);
	dax_vma_put(vb);
	dax_vma_put(va);
	close_device();
}

/* There a store to a mapped page does not ask the block map: but where the
 * block is shared it must.  @pages: of the vma that reads first. */
static void two_step_store(unsigned int pages)
{
	struct dax_mapping *a, *b;
	struct dax_vma *first, *small;

	open_device(8 * MIB);
	a = keep(new_cached_file(dev, PMD, DAX_PAGE_POOL_COLD));
	EQ(fill(a, 0, (size_t)PMD, 'a'), PMD);
	b = clone_of(a);
	EQ(dax_mapping_punch_hole(a, 7 * PAGE, PAGE), 0);	/* page 7 is b's own */
	first = map_pages(b, PMD, RW | DAX_VM_SHARED, pages);
	small = map_pages(b, PMD, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	for (uint64_t page = 6; page < 9; page++) {
		EQ(load(first, page * DAX_PAGE_SIZE), 'a');
		EQ(load(small, page * DAX_PAGE_SIZE), 'a');
		EQ(store(small, page * DAX_PAGE_SIZE, 'b'), 0);
		check_all();
		EQ(load(first, page * DAX_PAGE_SIZE), 'b');
	}
	EQ(get(a, 6 * PAGE) + get(a, 8 * PAGE), 2 * 'a');
	dax_vma_put(small);
	dax_vma_put(first);
	close_device();
}

static void two_step_stores(void)
{
	two_step_store(DAX_PAGES_PTE);
	two_step_store(DAX_PAGES_AUTO);
}

/* ---- 2 MiB ---------------------------------------------------------------------------- */

static unsigned int order_at(struct dax_mapping *mapping, dax_pgoff_t page)
{
	struct radix_tree_iter iter;

	return radix_tree_next(&mapping->i_pages, page, page, &iter) ? iter.order : 99;
}

/* All of it is shared: a store gets an aligned copy of all. */
static void whole_pmd(void)
{
	struct dax_mapping *a, *b;
	struct dax_vma *va, *vb;

	open_device(8 * MIB);
	a = file_of(PMD);
	EQ(fill(a, 0, (size_t)PMD, 'a'), PMD);
	va = map_shared(a, PMD);
	EQ(store(va, 7, 'z'), 0);		/* a writable huge leaf */
	EQ(order_at(a, 0), DAX_PMD_ORDER);
	b = clone_of(a);
	vb = map_shared(b, PMD);
	EQ(load(vb, 7), 'z');
	EQ(load(va, 7), 'z');
	EQ(order_at(a, 0), DAX_PMD_ORDER);
	check_all();
	EQ(store(vb, 8, 'b'), 0);
	EQ(order_at(b, 0), DAX_PMD_ORDER);
	EQ(stat_of(b, DAX_STAT_PMD_FAULT_FALLBACK), 0);
	EQ(free_pages_of(), 2048 - 1024);
	check_all();
	EQ(extents(b), 1);
	EQ(row[0].flags, 0);
	EQ(row[0].device_offset % DAX_PMD_SIZE, 0);
	EQ(load(va, 8), 'a');
	EQ(store(va, 8, 'A'), 0);		/* the other one owns its blocks now */
	EQ(free_pages_of(), 2048 - 1024);
	EQ(load(vb, 8), 'b');
	EQ(load(vb, (uint64_t)PMD - 1), 'a');
	dax_vma_put(vb);
	dax_vma_put(va);
	close_device();
}

/* No aligned 2 MiB are free: one page is copied, the others stay shared. */
static void no_room_for_pmd(void)
{
	struct dax_mapping *a, *b;
	struct dax_vma *vb, *reader;

	open_device(4 * MIB);
	a = file_of(PMD);
	EQ(fill(a, 0, (size_t)PMD, 'a'), PMD);
	EQ(put(file_of(PMD), 0, 'f'), 0);	/* in the way */
	b = clone_of(a);
	vb = map_shared(b, PMD);
	reader = map_shared(b, PMD);
	EQ(load(reader, 0), 'a');
	EQ(order_at(b, 0), DAX_PMD_ORDER);
	EQ(store(vb, 5 * DAX_PAGE_SIZE, 'b'), 0);
	EQ(stat_of(b, DAX_STAT_FALLBACK + DAX_FALLBACK_SHORT_EXTENT), 1);
	EQ(order_at(b, 5), 0);			/* the huge entry gave way */
	EQ(free_pages_of(), 1024 - 514);
	check_all();
	EQ(load(reader, 5 * DAX_PAGE_SIZE), 'b');
	EQ(load(reader, 6 * DAX_PAGE_SIZE), 'a');
	EQ(get(a, 5 * PAGE), 'a');
	dax_vma_put(reader);
	dax_vma_put(vb);
	close_device();
}

/* A clean huge entry over blocks of which some are shared: a store to a page
 * that is not takes it away too, since it would become DIRTY as a whole. */
static void no_dirty_entry_shares(void)
{
	struct dax_mapping *a, *b;
	struct dax_vma *small, *huge;

	open_device(8 * MIB);
	a = file_of(PMD);
	EQ(fill(a, 0, (size_t)PMD, 'a'), PMD);
	b = clone_of(a);
	EQ(dax_mapping_punch_hole(b, 7 * PAGE, PAGE), 0);	/* page 7 is a's own */
	huge = map_shared(a, PMD);
	small = map_pages(a, PMD, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	EQ(load(huge, 0), 'a');
	EQ(order_at(a, 0), DAX_PMD_ORDER);
	EQ(store(small, 7 * DAX_PAGE_SIZE, 'A'), 0);
	check_all();
	EQ(order_at(a, 7), 0);
	EQ(store(small, 8 * DAX_PAGE_SIZE, 'A'), 0);
	check_all();
	EQ(load(huge, 7 * DAX_PAGE_SIZE), 'A');
	EQ(get(b, 8 * PAGE), 'a');
	dax_vma_put(small);
	dax_vma_put(huge);
	close_device();
}

/* ---- failures --------------------------------------------------------------------------- */

/* No block for a copy: the store fails, the file still shows the old one. */
static void no_space(void)
{
	struct dax_mapping *a, *b;
	struct dax_vma *vma;
	struct dax_fault_info info;

	open_device(8 * PAGE);
	a = file_of(8 * PAGE);
	EQ(fill(a, 0, 8 * PAGE, 'a'), 8 * PAGE);
	b = clone_of(a);
	vma = map_shared(b, 8 * PAGE);
	EQ(load(vma, 0), 'a');
	EQ(dax_vma_fault(vma, 0, 1, &info), DAX_VM_FAULT_SIGBUS);
	EQ(info.error, -ENOSPC);
	EQ(put(b, PAGE, 'b'), -1);
	CHECK(errormsg_has("full"));
	EQ(dax_mapping_punch_hole(b, 10, 20), -ENOSPC);
	EQ(dax_mapping_truncate(b, PAGE + 1), -ENOSPC);
	EQ(dax_mapping_size(b), 8 * PAGE);
	check_all();
	EQ(load(vma, 0), 'a');
	CHECK(all_bytes(b, 0, 8 * PAGE, 'a'));
	/* The other owner leaves one: it can be written to where it is. */
	EQ(dax_mapping_punch_hole(a, 0, PAGE), 0);
	EQ(store(vma, 0, 'b'), 0);
	check_all();
	/* There is a block for one page of three: a short write. */
	EQ(dax_mapping_punch_hole(b, 0, PAGE), 0);
	EQ(fill(b, PAGE, 3 * PAGE, 'b'), PAGE);
	CHECK(all_bytes(b, 2 * PAGE, 6 * PAGE, 'a') && all_bytes(a, PAGE, 7 * PAGE, 'a'));
	dax_vma_put(vma);
	close_device();
}

/* A page of the window whose accesses are refused, as a broken medium's are. */
static void break_page(uint64_t block, bool broken)
{
	int fd = broken ? open(tmp_file("none", 0, 0), O_RDWR) : dup(dev->fd);
	char *at = dev->window + block * DAX_PAGE_SIZE;

	MUST(fd >= 0);
	MUST(mmap(at, DAX_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		  broken ? 0 : (off_t)(block * DAX_PAGE_SIZE)) == at);
	close(fd);
}

/* The block to copy from cannot be read, or the one to copy to be written. */
static void copy_fails(void)
{
	struct dax_mapping *a, *b;
	struct dax_vma *vma;
	struct dax_fault_info info;

	MUST(!dax_device_open(&dev, tmp_path("copy"), 16 * PAGE, DAX_DEVICE_CREATE));
	nr_files = 0;
	a = file_of(4 * PAGE);
	EQ(fill(a, 0, 4 * PAGE, 'a'), 4 * PAGE);	/* blocks 0 to 3 */
	b = clone_of(a);
	vma = map_shared(b, 4 * PAGE);
	EQ(load(vma, DAX_PAGE_SIZE), 'a');
	for (int way = 0; way < 2; way++) {
		break_page(way ? 4 : 1, true);
		EQ(dax_vma_fault(vma, 1, 1, &info), DAX_VM_FAULT_SIGBUS);
		EQ(info.error, -EIO);
		CHECK(put(b, PAGE, 'b') < 0);
		break_page(way ? 4 : 1, false);
		check_all();
		EQ(free_pages_of(), 12);
		EQ(load(vma, DAX_PAGE_SIZE), 'a');
		CHECK(all_bytes(b, 0, 4 * PAGE, 'a'));
	}
	EQ(store(vma, DAX_PAGE_SIZE, 'b'), 0);
	EQ(get(a, PAGE), 'a');
	dax_vma_put(vma);
	close_device();
}

/* A file like the one that clone() is tried on: holes, blocks, several nodes. */
static struct dax_mapping *scattered(void)
{
	struct dax_mapping *a = file_of(3 * PMD);

	EQ(fill(a, 3 * PAGE, 5 * PAGE, 'a'), 5 * PAGE);
	EQ(fill(a, PMD - PAGE, 2 * PAGE, 'b'), 2 * PAGE);
	EQ(dax_mapping_fallocate(a, 2 * PMD, PAGE), 0);
	return a;
}

static void clone_without_memory(void)
{
	struct dax_mapping *a, *b = NULL;

	open_device(MIB);
	a = scattered();
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = dax_mapping_clone(&b, a);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
		check_all();
		EQ(ret, -ENOMEM);
		CHECK(!b);
		EQ(dax_device_nr_files(dev), 1);
	}
	CHECK(oom_rounds() > 4);
	keep(b);
	close_device();
}

/* Into the middle of another file: whole, or it is as it was. */
static void clone_range_without_memory(void)
{
	struct dax_mapping *a, *b;

	open_device(MIB);
	a = scattered();
	b = file_of(PMD + 20 * PAGE);
	EQ(fill(b, 5 * PAGE, 3 * PAGE, 'x'), 3 * PAGE);
	OOM_LOOP(n) {
		bool done;
		int ret;

		oom_fail_nth(n);
		ret = dax_mapping_clone_range(b, 4 * PAGE, a, 0, 2 * PMD);
		oom_clear();
		done = !oom_fired();
		check_all();
		EQ(ret, done ? 0 : -ENOMEM);
		EQ(dax_mapping_size(b), done ? 2 * PMD + 4 * PAGE : PMD + 20 * PAGE);
		CHECK(all_bytes(b, 7 * PAGE, PAGE, done ? 'a' : 'x'));
		CHECK(all_bytes(b, 5 * PAGE, 2 * PAGE, done ? 0 : 'x'));
		CHECK(all_bytes(b, 8 * PAGE, 4 * PAGE, done ? 'a' : 0));
		if (done)
			break;
	}
	CHECK(oom_rounds() > 0);
	CHECK(all_bytes(b, PMD + 3 * PAGE, 2 * PAGE, 'b'));
	close_device();
}

/* A store under a huge entry that has to give way, with each allocation
 * failing: bytes stay apart, the next try works. */
static void split_without_memory(void)
{
	unsigned int rounds = 0;

	OOM_LOOP(n) {
		struct dax_mapping *a, *b;
		struct dax_vma *small, *huge;
		int ret;

		open_device(4 * MIB);
		a = file_of(PMD);
		EQ(fill(a, 0, (size_t)PMD, 'a'), PMD);
		b = clone_of(a);
		huge = map_shared(b, PMD);
		small = map_pages(b, PMD, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
		EQ(load(huge, 0), 'a');
		EQ(load(small, 0), 'a');
		oom_fail_nth(n);
		ret = store(small, 5 * DAX_PAGE_SIZE, 'b');
		oom_clear();
		rounds = oom_rounds();
		check_all();
		EQ(ret, oom_fired() ? -1 : 0);
		EQ(load(huge, 5 * DAX_PAGE_SIZE), oom_fired() ? 'a' : 'b');
		EQ(store(small, 5 * DAX_PAGE_SIZE, 'b'), 0);
		EQ(load(huge, 5 * DAX_PAGE_SIZE), 'b');
		EQ(get(a, 5 * PAGE), 'a');
		dax_vma_put(small);
		dax_vma_put(huge);
		close_device();
		if (!oom_fired())
			break;
	}
	CHECK(rounds > 0);
}

static void refused(void)
{
	struct dax_mapping *a, *b = NULL, *far;
	struct dax_device *other = new_device(MIB);
	struct mock mock = { 0 };
	struct dax_mapping *mocked;

	open_device(MIB);
	a = file_of(4 * PAGE);
	far = new_file(other, 4 * PAGE);
	EQ(put(a, 0, 'a'), 0);
	mocked = mock_file(&mock, dev, 4 * PAGE);
	EQ(dax_mapping_clone(&b, mocked), -EOPNOTSUPP);
	EQ(dax_mapping_clone_range(mocked, 0, a, 0, PAGE), -EOPNOTSUPP);
	EQ(dax_mapping_clone_range(a, 0, mocked, 0, PAGE), -EOPNOTSUPP);
	EQ(dax_mapping_dedupe_range(mocked, 0, mocked, PAGE, PAGE), -EOPNOTSUPP);
	EQ(dax_mapping_clone_range(far, 0, a, 0, PAGE), -EXDEV);
	EQ(dax_mapping_dedupe_range(far, 0, a, 0, PAGE), -EXDEV);
	dax_mapping_put(mocked);
	EQ(dax_device_kill(dev), 0);
	EQ(dax_mapping_clone(&b, a), -ENXIO);
	EQ(dax_mapping_clone_range(a, PAGE, a, 0, PAGE), -ENXIO);
	CHECK(!b);
	dax_mapping_put(far);
	dax_device_put(other);
	close_device();
}

/* ---- ranges --------------------------------------------------------------------------------- */

struct range_case {
	dax_loff_t dst_pos, src_pos;
	uint64_t len;
	int ret;
};

/* Source of 4 pages and 10 bytes, target of 10 pages: FICLONERANGE's rules. */
static void rules(void)
{
	static const struct range_case cases[] = {
		{ 1, 0, DAX_PAGE_SIZE, -EINVAL },
		{ 0, 1, DAX_PAGE_SIZE, -EINVAL },
		{ -4096, 0, DAX_PAGE_SIZE, -EINVAL },
		{ 0, -4096, DAX_PAGE_SIZE, -EINVAL },
		{ 0, 0, 100, -EINVAL },				/* ends in a page */
		{ 0, 3 * DAX_PAGE_SIZE, DAX_PAGE_SIZE + 10, -EINVAL },
		{ 9 * DAX_PAGE_SIZE, 4 * DAX_PAGE_SIZE, 10, -EINVAL },
		{ 0, 4 * DAX_PAGE_SIZE, DAX_PAGE_SIZE, -EINVAL },	/* leaves it */
		{ 0, 8 * DAX_PAGE_SIZE, DAX_PAGE_SIZE, -EINVAL },
		{ INT64_MAX - 4095, 0, DAX_PAGE_SIZE, -EFBIG },
		{ 0, INT64_MAX - 4095, DAX_PAGE_SIZE, -EFBIG },
		{ 0, 8 * DAX_PAGE_SIZE, 0, 0 },			/* nothing */
		{ 10 * DAX_PAGE_SIZE, 4 * DAX_PAGE_SIZE, 10, 0 },	/* both ends */
		{ 12 * DAX_PAGE_SIZE, 3 * DAX_PAGE_SIZE, 0, 0 },
		{ 2 * DAX_PAGE_SIZE, DAX_PAGE_SIZE, 2 * DAX_PAGE_SIZE, 0 },
	};

	open_device(MIB);
	file_of(4 * PAGE + 10);
	file_of(10 * PAGE);
	EQ(fill(files[0], 0, 4 * PAGE + 10, 'a'), 4 * PAGE + 10);
	EQ(fill(files[1], 0, 10 * PAGE, 'b'), 10 * PAGE);
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct range_case *c = &cases[i];

		EQ(dax_mapping_clone_range(files[1], c->dst_pos, files[0], c->src_pos,
					   c->len), c->ret);
		check_all();
	}
	EQ(dax_mapping_size(files[1]), 13 * PAGE + 10);
	CHECK(all_bytes(files[1], 0, 2 * PAGE, 'b'));
	CHECK(all_bytes(files[1], 2 * PAGE, 2 * PAGE, 'a'));
	CHECK(all_bytes(files[1], 4 * PAGE, 6 * PAGE, 'b'));
	CHECK(all_bytes(files[1], 10 * PAGE, 10, 'a'));
	CHECK(all_bytes(files[1], 10 * PAGE + 10, 2 * PAGE - 10, 0));
	CHECK(all_bytes(files[1], 12 * PAGE, PAGE + 10, 'a'));
	/* Inside one file. */
	EQ(dax_mapping_clone_range(files[0], PAGE, files[0], 0, 2 * PAGE), -EINVAL);
	EQ(put(files[0], 0, 'z'), 0);
	EQ(dax_mapping_clone_range(files[0], 2 * PAGE, files[0], 0, 2 * PAGE), 0);
	check_all();
	EQ(get(files[0], 2 * PAGE), 'z');
	EQ(put(files[0], 2 * PAGE, 'y'), 0);
	EQ(get(files[0], 0), 'z');
	close_device();
}

/* Holes of the source make holes; mappings of the target see it at once. */
static void over_blocks_and_mappings(void)
{
	struct dax_mapping *a, *b;
	struct dax_vma *vma, *private;

	open_device(8 * MIB);
	a = file_of(2 * PMD);
	b = file_of(2 * PMD);
	EQ(fill(a, PAGE, 3 * PAGE, 'a'), 3 * PAGE);
	EQ(fill(b, 0, (size_t)PMD, 'b'), PMD);
	vma = map_shared(b, 2 * PMD);
	private = map_private(b, 2 * PMD);
	EQ(store(vma, 0, 'B'), 0);		/* a DIRTY entry of 2 MiB */
	EQ(load(vma, (uint64_t)PMD), 0);	/* and a zero page */
	EQ(store(private, 2 * DAX_PAGE_SIZE, 'p'), 0);
	EQ(dax_mapping_clone_range(b, 0, a, 0, 8 * PAGE), 0);
	check_all();
	EQ(load(vma, 0), 0);
	EQ(load(vma, DAX_PAGE_SIZE), 'a');
	EQ(load(vma, 8 * DAX_PAGE_SIZE), 'b');
	EQ(load(private, 2 * DAX_PAGE_SIZE), 'p');
	EQ(dax_mapping_clone_range(b, PMD, a, 0, PMD), 0);
	EQ(load(vma, (uint64_t)PMD + DAX_PAGE_SIZE), 'a');
	check_all();
	dax_vma_put(private);
	dax_vma_put(vma);
	close_device();
}

/* ---- dedupe ----------------------------------------------------------------------- */

static void dedupe(void)
{
	struct dax_mapping *a, *b;
	struct dax_vma *va, *vb;
	uint64_t left;

	open_device(MIB);
	a = file_of(10 * PAGE + 5);
	b = file_of(10 * PAGE + 5);
	va = map_shared(a, 10 * PAGE + 5);
	vb = map_shared(b, 10 * PAGE + 5);
	for (int i = 0; i < 2; i++) {
		EQ(fill(files[i], 0, 4 * PAGE, 's'), 4 * PAGE);
		EQ(fill(files[i], 4 * PAGE, 2 * PAGE, 0), 2 * PAGE);	/* zeroes */
		EQ(fill(files[i], 9 * PAGE, PAGE + 5, 't'), PAGE + 5);
	}
	EQ(put(a, 6 * PAGE, 0), 0);		/* zeroes here, a hole there */
	EQ(store(va, 0, 's'), 0);
	EQ(store(vb, 0, 's'), 0);
	left = free_pages_of();
	EQ(dax_mapping_dedupe_range(b, 0, a, 0, 10 * PAGE + 5), 10 * PAGE + 5);
	check_all();
	/* 4 and 2 pages of bytes shared, 2 + 2 + 1 of zeroes given back */
	EQ(free_pages_of(), left + 4 + 2 + 5);
	EQ(extents(a), 3);
	is_row(0, DAX_IOMAP_MAPPED, 0, 4, DAX_IOMAP_F_SHARED);
	is_row(1, DAX_IOMAP_HOLE, 4, 5, 0);
	EQ(row[2].flags, DAX_IOMAP_F_SHARED);
	EQ(load(va, 5), 's');
	EQ(store(vb, 5, 'b'), 0);
	EQ(load(va, 5), 's');
	EQ(load(vb, 4 * DAX_PAGE_SIZE), 0);
	EQ(dax_mapping_dedupe_range(b, PAGE, a, PAGE, 2 * PAGE), 2 * PAGE);	/* again */
	check_all();
	dax_vma_put(va);
	dax_vma_put(vb);
	close_device();
}

static void dedupe_differs(void)
{
	struct dax_mapping *a, *b;
	uint64_t left;

	open_device(MIB);
	a = file_of(40 * PAGE);
	b = file_of(40 * PAGE);
	EQ(fill(a, 0, 40 * PAGE, 's'), 40 * PAGE);
	EQ(fill(b, 0, 40 * PAGE, 's'), 40 * PAGE);
	EQ(put(b, 39 * PAGE + 4095, 'x'), 0);	/* the last byte */
	left = free_pages_of();
	EQ(dax_mapping_dedupe_range(b, 0, a, 0, 40 * PAGE), -EBADE);
	EQ(free_pages_of(), left);
	check_all();
	EQ(dax_mapping_dedupe_range(b, 0, a, 0, 39 * PAGE), 39 * PAGE);
	EQ(free_pages_of(), left + 39);
	EQ(dax_mapping_dedupe_range(b, 0, a, 0, 0), 0);
	EQ(dax_mapping_dedupe_range(b, 0, a, 0, 41 * PAGE), -EINVAL);
	EQ(dax_mapping_dedupe_range(b, 0, a, 0, 100), -EINVAL);
	EQ(dax_mapping_dedupe_range(b, 1, a, 0, PAGE), -EINVAL);
	EQ(dax_mapping_dedupe_range(a, 0, a, PAGE, 2 * PAGE), -EINVAL);
	EQ(dax_mapping_dedupe_range(a, 0, a, 2 * PAGE, 2 * PAGE), 2 * PAGE);
	EQ(dax_mapping_truncate(b, 20 * PAGE + 7), 0);
	/* The end of one file is not the end of the other. */
	EQ(dax_mapping_dedupe_range(a, 20 * PAGE, b, 20 * PAGE, 7), -EINVAL);
	EQ(dax_mapping_dedupe_range(b, 20 * PAGE, a, 20 * PAGE, PAGE), -EINVAL);
	check_all();
	close_device();
}

/* More pages than anybody reads; a little of it is data. */
static void dedupe_of_holes(void)
{
	const dax_loff_t size = (dax_loff_t)1 << 56, far = (dax_loff_t)1 << 50;
	struct dax_mapping *a, *b;
	uint64_t left;

	open_device(MIB);
	a = file_of(size);
	b = file_of(size);
	EQ(put(a, far, 's'), 0);
	EQ(put(b, far, 's'), 0);
	EQ(put(a, far + PAGE, 0), 0);		/* zeroes here, a hole there */
	EQ(put(b, size - PAGE, 0), 0);		/* and the other way */
	EQ(dax_mapping_fallocate(a, 2 * far, 5 * PAGE), 0);
	left = free_pages_of();
	EQ(dax_mapping_dedupe_range(b, 0, a, 0, size), size);
	check_all();
	EQ(free_pages_of(), left + 1 + 1 + 1 + 5);
	EQ(extents(a), 3);
	is_row(1, DAX_IOMAP_MAPPED, far / PAGE, 1, DAX_IOMAP_F_SHARED);
	EQ(put(b, size - 1, 'x'), 0);
	EQ(dax_mapping_dedupe_range(b, 0, a, 0, size), -EBADE);
	EQ(dax_mapping_dedupe_range(a, 0, b, 0, size), -EBADE);
	EQ(dax_mapping_dedupe_range(b, 0, a, 0, size - PAGE), size - PAGE);
	check_all();
	close_device();
}

static void dedupe_without_memory(void)
{
	struct dax_mapping *a, *b;

	open_device(8 * MIB);
	a = scattered();
	b = scattered();
	EQ(fill(a, PMD + 100 * PAGE, PAGE, 0), PAGE);
	OOM_LOOP(n) {
		int64_t ret;

		oom_fail_nth(n);
		ret = dax_mapping_dedupe_range(b, 0, a, 0, 3 * PMD);
		oom_clear();
		check_all();
		CHECK(all_bytes(b, 3 * PAGE, 5 * PAGE, 'a'));
		CHECK(all_bytes(a, PMD - PAGE, 2 * PAGE, 'b'));
		if (!oom_fired()) {
			EQ(ret, 3 * PMD);
			break;
		}
		CHECK(ret == -ENOMEM || ret == 3 * PMD);
	}
	CHECK(oom_rounds() > 1);
	close_device();
}

/* What cannot be read is not the same. */
static void dedupe_broken(void)
{
	struct dax_mapping *a, *b;

	MUST(!dax_device_open(&dev, tmp_path("dedupe"), 16 * PAGE, DAX_DEVICE_CREATE));
	nr_files = 0;
	a = file_of(4 * PAGE);
	b = file_of(4 * PAGE);
	EQ(fill(a, 0, 4 * PAGE, 'a'), 4 * PAGE);
	EQ(fill(b, 0, 4 * PAGE, 'a'), 4 * PAGE);
	break_page(2, true);
	EQ(dax_mapping_dedupe_range(b, 0, a, 0, 4 * PAGE), -EIO);
	break_page(2, false);
	check_all();
	EQ(free_pages_of(), 8);
	close_device();
}

int main(void)
{
	tmpdir_make();
	plan(26);
	run("a clone shows the same, nothing is copied", shows_the_same);
	run("clones of nothing", empty_and_holes);
	run("extents end where sharing does", rows_by_sharing);
	run("writes of every kind stay apart", writes_stay_apart);
	run("three owners", three_owners);
	run("blocks set aside, shared", unwritten);
	run("edges of punch and truncate are zeroed in a copy", edges);
	run("a shared tail is zeroed in a copy when the file grows", growth_every_way);
	run("page-cache policy", page_cache_policy);
	run("page-cache policy, stores in two steps", two_step_stores);
	run("2 MiB that are all shared", whole_pmd);
	run("2 MiB of which there is no copy", no_room_for_pmd);
	run("no DIRTY entry shares a block", no_dirty_entry_shares);
	run("the device is full", no_space);
	run("the copy fails", copy_fails);
	run("clone, every allocation fails in turn", clone_without_memory);
	run("clone of a range, every allocation fails in turn",
	    clone_range_without_memory);
	run("a huge entry gives way, every allocation fails in turn",
	    split_without_memory);
	run("who cannot be cloned", refused);
	run("ranges that may be cloned", rules);
	run("a range over blocks and mappings", over_blocks_and_mappings);
	run("dedupe shares what is equal and frees zeroes", dedupe);
	run("dedupe leaves what differs", dedupe_differs);
	run("dedupe of holes of any length", dedupe_of_holes);
	run("dedupe, every allocation fails in turn", dedupe_without_memory);
	run("dedupe of what cannot be read", dedupe_broken);
	return done();
}
