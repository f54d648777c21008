/* SPDX-License-Identifier: BSD-3-Clause */
/* test_extent_map.c -- the built-in block map, through the calls of a file */
#define _GNU_SOURCE
#include "extent_map.h"

#include "fixture.h"
#include "invariants.h"
#include "oom.h"
#include "tmpdir.h"

enum { MIB = 1 << 20, ROWS = 32 };

static struct dax_extent row[ROWS];

static int64_t extents(struct dax_mapping *mapping)
{
	dax_loff_t pos = 0;

	return dax_mapping_extents(mapping, &pos, row, ROWS);
}

static void is_row(int i, unsigned int type, int64_t page, int64_t pages)
{
	EQ(row[i].type, type);
	EQ(row[i].offset, page * PAGE);
	EQ(row[i].length, pages * PAGE);
}

static uint64_t allocated(struct dax_mapping *mapping)
{
	return gauge_of(mapping, DAX_GAUGE_ALLOCATED_BYTES) / DAX_PAGE_SIZE;
}

static uint64_t free_pages_of(struct dax_device *dev)
{
	return dax_device_free_bytes(dev) / DAX_PAGE_SIZE;
}

static void holes(void)
{
	struct dax_device *dev = new_device(MIB);
	struct dax_mapping *mapping = new_file(dev, 10 * PAGE + 7);

	EQ(extents(mapping), 1);
	EQ(row[0].type, DAX_IOMAP_HOLE);
	EQ(row[0].length, 10 * PAGE + 7);
	CHECK(all_bytes(mapping, 0, 10 * PAGE + 7, 0));
	EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 0);
	EQ(allocated(mapping), 0);
	dax_mapping_put(mapping);
	mapping = new_file(dev, 0);
	EQ(extents(mapping), 0);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

static void contiguous(void)
{
	struct dax_device *dev = new_device(8 * MIB);
	struct dax_mapping *mapping = new_file(dev, 4 * MIB);

	EQ(fill(mapping, 3 * PAGE, 5 * PAGE, 'a'), 5 * PAGE);
	EQ(fill(mapping, 8 * PAGE, PAGE, 'b'), PAGE);	/* goes on behind it */
	EQ(extents(mapping), 3);
	is_row(0, DAX_IOMAP_HOLE, 0, 3);
	is_row(1, DAX_IOMAP_MAPPED, 3, 6);
	is_row(2, DAX_IOMAP_HOLE, 9, 1024 - 9);
	EQ(allocated(mapping), 6);
	EQ(free_pages_of(dev), 2048 - 6);
	CHECK(all_bytes(mapping, 3 * PAGE, 5 * PAGE, 'a'));
	check_invariants(mapping);
	dax_mapping_put(mapping);
	EQ(free_pages_of(dev), 2048);	/* a file's end frees its blocks */
	dax_device_put(dev);
}

static void ask_ahead(struct dax_mapping *mapping, int64_t page, int64_t nr,
		      struct dax_iomap *iomap)
{
	const unsigned int flags = DAX_IOMAP_FAULT | DAX_IOMAP_WRITE | DAX_IOMAP_AHEAD;

	MUST(!iomap_begin(mapping, page * PAGE, (uint64_t)(nr * PAGE), flags, iomap));
	iomap_end(mapping, page * PAGE, (uint64_t)(nr * PAGE), PAGE, flags, iomap);
	EQ(iomap->offset, page * PAGE);
	EQ(iomap->type, DAX_IOMAP_MAPPED);
}

/* Holes behind a hole, as far as they lie together; else the page alone. */
static void ahead_of_a_store(void)
{
	const unsigned int ahead = DAX_IOMAP_F_NEW | DAX_IOMAP_F_AHEAD;
	struct dax_device *dev = new_device(8 * MIB);
	struct dax_mapping *mapping = new_file(dev, 16 * MIB);
	struct dax_iomap iomap;

	EQ(put(mapping, 100 * PAGE, 1), 0);
	EQ(dax_mapping_fallocate(mapping, 200 * PAGE, 8 * PAGE), 0);
	ask_ahead(mapping, 64, 512, &iomap);
	EQ(iomap.flags, ahead);
	EQ(iomap.length, 36 * PAGE);
	EQ(allocated(mapping), 1 + 8 + 36);
	ask_ahead(mapping, 64, 512, &iomap);
	EQ(iomap.flags, 0);
	EQ(iomap.length, PAGE);
	ask_ahead(mapping, 100, 512, &iomap);
	EQ(iomap.flags, 0);
	ask_ahead(mapping, 200, 512, &iomap);
	EQ(iomap.flags, DAX_IOMAP_F_NEW);
	EQ(iomap.length, PAGE);
	ask_ahead(mapping, 190, 512, &iomap);
	EQ(iomap.flags, ahead);
	EQ(iomap.length, 10 * PAGE);
	EQ(allocated(mapping), 1 + 8 + 36 + 10);
	ask_ahead(mapping, 1024, 1, &iomap);
	EQ(iomap.flags, ahead);
	EQ(iomap.length, PAGE);
	/* An eighth of what is free, and the page. */
	ask_ahead(mapping, 1536, 512, &iomap);
	EQ(iomap.length, ((2048 - 56) / 8 + 1) * PAGE);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

/* 2 MiB at once are aligned on the device, though it begins elsewhere. */
static void aligned_for_pmd(void)
{
	struct dax_device *dev = new_device(8 * MIB);
	struct dax_mapping *mapping = new_file(dev, 4 * MIB);

	EQ(put(mapping, 0, 1), 0);
	EQ(fill(mapping, PMD, (size_t)PMD, 'p'), PMD);
	EQ(extents(mapping), 3);
	is_row(2, DAX_IOMAP_MAPPED, 512, 512);
	EQ(row[2].device_offset % DAX_PMD_SIZE, 0);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

/* Two files take turns: no block is in both, and their bytes stay apart. */
static void two_files(void)
{
	struct dax_device *dev = new_device(MIB);
	struct dax_mapping *a = new_file(dev, MIB), *b = new_file(dev, MIB);

	for (int i = 0; i < 100; i++) {
		EQ(fill(a, i * PAGE, DAX_PAGE_SIZE, 'a'), PAGE);
		EQ(fill(b, i * PAGE, DAX_PAGE_SIZE, 'b'), PAGE);
	}
	CHECK(all_bytes(a, 0, 100 * PAGE, 'a') && all_bytes(b, 0, 100 * PAGE, 'b'));
	EQ(free_pages_of(dev), 256 - 200);
	dax_mapping_put(a);
	EQ(free_pages_of(dev), 256 - 100);
	CHECK(all_bytes(b, 0, 100 * PAGE, 'b'));
	dax_mapping_put(b);
	dax_device_put(dev);
}

/* ---- nobody sees somebody's bytes --------------------------------------------------- */

/* One byte into each page of a file that takes the whole device. */
static void bytes_around_are_zero(struct dax_device *dev)
{
	struct dax_mapping *mapping = new_file(dev, MIB);
	unsigned char page[DAX_PAGE_SIZE];

	for (int i = 0; i < 256; i++)
		EQ(put(mapping, i * PAGE + 100, 1), 0);
	for (int i = 0; i < 256; i++) {
		EQ(dax_mapping_pread(mapping, page, DAX_PAGE_SIZE, i * PAGE), PAGE);
		CHECK(page[100] == 1);
		page[100] = 0;
		CHECK(!page[0] && !memcmp(page, page + 1, DAX_PAGE_SIZE - 1));
	}
	dax_mapping_put(mapping);
}

static void freed_blocks_are_zeroed(void)
{
	struct dax_device *dev = new_device(MIB);
	struct dax_mapping *mapping = new_file(dev, MIB);

	EQ(fill(mapping, 0, MIB, 's'), MIB);
	dax_mapping_put(mapping);		/* freed with the file */
	bytes_around_are_zero(dev);
	mapping = new_file(dev, MIB);
	EQ(fill(mapping, 0, MIB, 's'), MIB);
	EQ(dax_mapping_truncate(mapping, 0), 0);	/* freed by truncate */
	bytes_around_are_zero(dev);
	EQ(dax_mapping_truncate(mapping, MIB), 0);
	EQ(fill(mapping, 0, MIB, 's'), MIB);
	EQ(dax_mapping_punch_hole(mapping, 0, MIB), 0);	/* freed by punch */
	bytes_around_are_zero(dev);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

/* The old content of a file that was declared disposable. */
static void old_content_is_zeroed(void)
{
	const char *path = tmp_file("old", MIB, 's');
	struct dax_device *dev = NULL;

	MUST(!dax_device_open(&dev, path, 0, DAX_DEVICE_OVERWRITE));
	bytes_around_are_zero(dev);
	dax_device_put(dev);
}

static void old_content_under_faults(void)
{
	const char *path = tmp_file("old", 4 * MIB, 's');
	struct dax_device *dev = NULL;
	struct dax_mapping *mapping;
	struct dax_vma *vma;
	static char buf[2 * MIB];

	MUST(!dax_device_open(&dev, path, 0, DAX_DEVICE_OVERWRITE));
	mapping = new_file(dev, 2 * PMD);
	vma = map_shared(mapping, 2 * PMD);
	EQ(store(vma, 5, 1), 0);		/* a 2 MiB fault */
	EQ(dax_vma_read(vma, buf, sizeof(buf), 0, NULL), sizeof(buf));
	CHECK(buf[5] == 1);
	buf[5] = 0;
	CHECK(!buf[0] && !memcmp(buf, buf + 1, sizeof(buf) - 1));
	EQ(dax_mapping_fallocate(mapping, PMD, PMD), 0);
	EQ(store(vma, (uint64_t)PMD + 5, 1), 0);	/* UNWRITTEN becomes data */
	EQ(dax_vma_read(vma, buf, sizeof(buf), (uint64_t)PMD, NULL), sizeof(buf));
	CHECK(buf[5] == 1);
	buf[5] = 0;
	CHECK(!buf[0] && !memcmp(buf, buf + 1, sizeof(buf) - 1));
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

/* ---- full ----------------------------------------------------------------------------- */

static void full(void)
{
	struct dax_device *dev = new_device(8 * PAGE);
	struct dax_mapping *mapping = new_file(dev, 20 * PAGE);
	struct dax_vma *vma = map_shared(mapping, 20 * PAGE);

	EQ(fill(mapping, 0, 6 * PAGE, 'a'), 6 * PAGE);
	EQ(fill(mapping, 10 * PAGE, 5 * PAGE, 'b'), 2 * PAGE);	/* what there is */
	EQ(fill(mapping, 15 * PAGE, 1, 'c'), -ENOSPC);
	CHECK(errormsg_has("full"));
	EQ(fill(mapping, 30 * PAGE, 1, 'c'), -ENOSPC);
	EQ(dax_mapping_size(mapping), 20 * PAGE);
	EQ(load(vma, 15 * DAX_PAGE_SIZE), 0);
	EQ(store(vma, 15 * DAX_PAGE_SIZE, 1), -1);
	EQ(store(vma, 16 * DAX_PAGE_SIZE, 1), -1);
	EQ(load(vma, 15 * DAX_PAGE_SIZE), 0);
	EQ(allocated(mapping), 8);
	EQ(free_pages_of(dev), 0);
	EQ(extents(mapping), 4);
	is_row(2, DAX_IOMAP_MAPPED, 10, 2);
	is_row(3, DAX_IOMAP_HOLE, 12, 8);
	CHECK(all_bytes(mapping, 0, 6 * PAGE, 'a'));
	EQ(put(mapping, 3, 'd'), 0);		/* a block that is there takes it */
	check_invariants(mapping);
	EQ(dax_mapping_punch_hole(mapping, 0, PAGE), 0);
	EQ(store(vma, 15 * DAX_PAGE_SIZE, 7), 0);
	EQ(get(mapping, 15 * PAGE), 7);
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

/* ---- fallocate ---------------------------------------------------------------------------- */

static void unwritten(void)
{
	struct dax_device *dev = new_device(MIB);
	struct dax_mapping *mapping = new_file(dev, 20 * PAGE);
	struct dax_vma *vma = map_shared(mapping, 20 * PAGE);
	struct dax_fault_info info;

	EQ(put(mapping, 3 * PAGE, 9), 0);
	EQ(dax_mapping_fallocate(mapping, 1, 8 * PAGE), 0);	/* pages 0 to 8 */
	EQ(allocated(mapping), 9);
	EQ(extents(mapping), 4);
	is_row(0, DAX_IOMAP_UNWRITTEN, 0, 3);
	is_row(1, DAX_IOMAP_MAPPED, 3, 1);
	is_row(2, DAX_IOMAP_UNWRITTEN, 4, 5);
	is_row(3, DAX_IOMAP_HOLE, 9, 11);
	EQ(get(mapping, 3 * PAGE), 9);
	CHECK(all_bytes(mapping, 4 * PAGE, 5 * PAGE, 0));
	/* Read: a zero page, nothing becomes data. */
	EQ(load(vma, 5 * DAX_PAGE_SIZE), 0);
	EQ(stat_of(mapping, DAX_STAT_LOAD_HOLE), 1);
	check_invariants(mapping);
	/* Write: the page becomes data, and that is NEW. */
	EQ(dax_vma_fault(vma, 5, 1, &info),
	   (int)(DAX_VM_FAULT_NOPAGE | DAX_VM_FAULT_MAJOR));
	check_invariants(mapping);
	EQ(dax_vma_fault(vma, 3, 1, &info), DAX_VM_FAULT_NOPAGE);
	EQ(allocated(mapping), 9);
	/* pwrite over a zero page of UNWRITTEN takes that page away. */
	EQ(load(vma, 7 * DAX_PAGE_SIZE), 0);
	EQ(put(mapping, 7 * PAGE, 4), 0);
	EQ(load(vma, 7 * DAX_PAGE_SIZE), 4);
	check_invariants(mapping);
	EQ(extents(mapping), 8);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

static void fallocate_grows(void)
{
	struct dax_device *dev = new_device(MIB);
	struct dax_mapping *mapping = new_file(dev, 100);

	EQ(dax_mapping_fallocate(mapping, 10 * PAGE, 5), 0);
	EQ(dax_mapping_size(mapping), 10 * PAGE + 5);
	EQ(dax_mapping_fallocate(mapping, 0, 1), 0);
	EQ(dax_mapping_size(mapping), 10 * PAGE + 5);
	EQ(allocated(mapping), 2);
	EQ(dax_mapping_fallocate(mapping, 0, 1), 0);	/* there already */
	EQ(allocated(mapping), 2);
	CHECK(all_bytes(mapping, 0, 10 * PAGE + 5, 0));
	check_invariants(mapping);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

/* All or nothing, with blocks of before in the middle. */
static void fallocate_rolls_back(void)
{
	struct dax_device *dev = new_device(16 * PAGE);
	struct dax_mapping *mapping = new_file(dev, 10 * PAGE);
	struct dax_extent before[ROWS];
	int64_t nr;

	EQ(put(mapping, 2 * PAGE, 'a'), 0);
	EQ(dax_mapping_fallocate(mapping, 5 * PAGE, PAGE), 0);
	nr = extents(mapping);
	memcpy(before, row, sizeof(row));
	EQ(dax_mapping_fallocate(mapping, 0, 17 * PAGE), -ENOSPC);
	EQ(dax_mapping_size(mapping), 10 * PAGE);
	EQ(extents(mapping), nr);
	CHECK(!memcmp(before, row, (size_t)nr * sizeof(row[0])));
	EQ(free_pages_of(dev), 14);
	EQ(get(mapping, 2 * PAGE), 'a');
	check_invariants(mapping);
	EQ(dax_mapping_fallocate(mapping, 0, 16 * PAGE), 0);
	EQ(free_pages_of(dev), 0);
	EQ(dax_mapping_fallocate(mapping, 0, INT64_MAX - 8191), -ENOSPC);
	EQ(dax_mapping_size(mapping), 16 * PAGE);
	EQ(get(mapping, 2 * PAGE), 'a');
	dax_mapping_put(mapping);
	EQ(free_pages_of(dev), 16);
	dax_device_put(dev);
}

/* ---- no memory -------------------------------------------------------------------------------- */

/* Blocks held and free are the device, whatever failed. */
static void nothing_leaked(struct dax_device *dev, struct dax_mapping *mapping)
{
	EQ(free_pages_of(dev) + allocated(mapping), dev->blocks.nr);
	check_invariants(mapping);
}

/* All of it (a node was got at the second try) or nothing. */
static void fallocate_out_of_memory(void (*fail)(unsigned int))
{
	struct dax_device *dev = new_device(4 * MIB);
	struct dax_mapping *mapping = new_file(dev, 0);
	unsigned int failures = 0;

	OOM_LOOP(n) {
		int ret;

		fail(n);
		ret = dax_mapping_fallocate(mapping, 3 * PAGE, 600 * PAGE);
		oom_clear();
		nothing_leaked(dev, mapping);
		CHECK(ret == 0 || (ret == -ENOMEM && oom_fired()));
		failures += ret != 0;
		EQ(dax_mapping_size(mapping), ret ? 0 : 603 * PAGE);
		EQ(allocated(mapping), ret ? 0 : 600);
		EQ(dax_mapping_truncate(mapping, 0), 0);
		if (!oom_fired())
			break;
	}
	CHECK(failures > 0);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

static void fallocate_without_memory(void)
{
	fallocate_out_of_memory(oom_fail_nth);
	fallocate_out_of_memory(oom_fail_from);
}

/* A write may be short, never wrong; the size grows by what was written. */
static void pwrite_without_memory(void)
{
	struct dax_device *dev = new_device(4 * MIB);
	unsigned int rounds = 0;

	OOM_LOOP(n) {
		struct dax_mapping *mapping = new_file(dev, 100);
		ssize_t ret;

		oom_fail_nth(n);
		ret = fill(mapping, 510 * PAGE + 50, 2 * PAGE, 'w');
		oom_clear();
		nothing_leaked(dev, mapping);
		rounds = oom_rounds();
		if (!oom_fired())
			EQ(ret, 2 * PAGE);
		CHECK(ret == -ENOMEM || ret > 0);
		EQ(dax_mapping_size(mapping), ret < 0 ? 100 : 510 * PAGE + 50 + ret);
		CHECK(all_bytes(mapping, 0, 100, 0));
		if (ret > 0)
			CHECK(all_bytes(mapping, 510 * PAGE + 50, (size_t)ret, 'w') &&
			      all_bytes(mapping, 510 * PAGE, 50, 0));
		dax_mapping_put(mapping);
		EQ(free_pages_of(dev), 1024);
		if (!oom_fired())
			break;
	}
	CHECK(rounds > 2);
	dax_device_put(dev);
}

static void new_without_memory(void)
{
	struct dax_mapping_attr attr = { .struct_size = sizeof(attr), .size = MIB };
	struct dax_device *dev = new_device(MIB);
	struct dax_mapping *mapping = NULL;

	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = dax_mapping_new(&mapping, dev, &attr);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
		EQ(ret, -ENOMEM);
		CHECK(!mapping);
		EQ(dax_device_nr_files(dev), 0);
	}
	CHECK(oom_rounds() > 1);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

/* Faults of every kind over a hole, with each allocation failing. */
static void fault_round(struct dax_device *dev, unsigned int n, int write,
			unsigned int pages, bool warm)
{
	struct dax_mapping *mapping = new_file(dev, 2 * PMD);
	struct dax_vma *other = map_shared(mapping, 2 * PMD);
	struct dax_vma *vma = map_pages(mapping, 2 * PMD, RW | DAX_VM_SHARED, pages);
	struct dax_fault_info info = { 0 };
	int ret;

	if (warm)
		EQ(load(other, 5), 0);
	oom_fail_nth(n);
	ret = dax_vma_fault(vma, 7, write, &info);
	oom_clear();
	nothing_leaked(dev, mapping);
	if (ret > 0 && ret & DAX_VM_FAULT_OOM)
		EQ(info.error, -ENOMEM);
	else
		CHECK(ret == -ENOMEM || !(ret & DAX_VM_FAULT_SIGBUS));
	EQ(store(vma, 7 * DAX_PAGE_SIZE, 'f'), 0);	/* and then it works */
	EQ(load(other, 7 * DAX_PAGE_SIZE), 'f');
	EQ(get(mapping, 7 * PAGE), 'f');
	nothing_leaked(dev, mapping);
	dax_vma_put(vma);
	dax_vma_put(other);
	dax_mapping_put(mapping);
}

static void fault_without_memory(void)
{
	struct dax_device *dev = new_device(4 * MIB);

	for (int way = 0; way < 8; way++)
		OOM_LOOP(n) {
			fault_round(dev, n, way & 1,
				    way & 2 ? DAX_PAGES_PTE : DAX_PAGES_AUTO, way & 4);
			if (!oom_fired()) {
				CHECK(n > 1);
				break;
			}
		}
	dax_device_put(dev);
}

/* ---- 2 MiB that there are not ------------------------------------------------------------------ */

/* A device whose free blocks are never two MiB together: every other page of
 * it belongs to a file that stays. */
static struct dax_mapping *fragment(struct dax_device *dev)
{
	struct dax_mapping *keeper = new_file(dev, (dax_loff_t)dax_device_size(dev));

	for (uint64_t i = 0; i < dev->blocks.nr; i++)
		MUST(!put(keeper, (dax_loff_t)i * PAGE, 'k'));
	for (uint64_t i = 0; i < dev->blocks.nr; i += 2)
		MUST(!dax_mapping_punch_hole(keeper, (dax_loff_t)i * PAGE, PAGE));
	return keeper;
}

/*
 * A 2 MiB store that falls back has got blocks for some pages of a range that
 * others see as the huge zero page.  They must not see zeroes for ever.
 */
static void fallback_leaves_no_stale_zeroes(void)
{
	struct dax_device *dev = new_device(4 * MIB);
	struct dax_mapping *keeper = fragment(dev);
	struct dax_mapping *mapping = new_file(dev, PMD);
	struct dax_vma *reader = map_shared(mapping, PMD);
	struct dax_vma *writer = map_pages(mapping, PMD, RW | DAX_VM_SHARED,
					   DAX_PAGES_PMD);
	struct dax_fault_info info;

	EQ(load(reader, 0), 0);
	EQ(stat_of(mapping, DAX_STAT_PMD_LOAD_HOLE), 1);
	CHECK(dax_vma_fault(writer, 0, 1, &info) & DAX_VM_FAULT_FALLBACK);
	EQ(info.reason, DAX_FALLBACK_SHORT_EXTENT);
	check_invariants(mapping);
	for (int i = 0; i < 512; i += 100) {
		EQ(put(mapping, i * PAGE, 'n'), 0);
		EQ(load(reader, (uint64_t)(i * PAGE)), 'n');
	}
	check_invariants(mapping);
	dax_vma_put(reader);
	dax_vma_put(writer);
	dax_mapping_put(mapping);
	dax_mapping_put(keeper);
	dax_device_put(dev);
}

/* The same where the 4 KiB fault that follows runs out of memory. */
static void fallback_without_memory(void)
{
	struct dax_device *dev = new_device(4 * MIB);
	struct dax_mapping *keeper = fragment(dev);

	OOM_LOOP(n) {
		struct dax_mapping *mapping = new_file(dev, PMD);
		struct dax_vma *reader = map_shared(mapping, PMD);
		struct dax_vma *writer = map_shared(mapping, PMD);

		EQ(load(reader, 0), 0);
		oom_fail_nth(n);
		dax_vma_fault(writer, 0, 1, NULL);
		oom_clear();
		check_invariants(mapping);
		EQ(put(mapping, 0, 'n'), 0);
		EQ(load(reader, 0), 'n');
		check_invariants(mapping);
		dax_vma_put(reader);
		dax_vma_put(writer);
		dax_mapping_put(mapping);
		if (!oom_fired())
			break;
	}
	CHECK(oom_rounds() > 1);
	dax_mapping_put(keeper);
	dax_device_put(dev);
}

/* Far beyond: the map grows with the file. */
static void far_pages(void)
{
	struct dax_device *dev = new_device(MIB);
	struct dax_mapping *mapping = new_file(dev, INT64_MAX - 4095);
	const dax_loff_t last = INT64_MAX - 4095 - 1;

	EQ(put(mapping, last, 'z'), 0);
	EQ(get(mapping, last), 'z');
	EQ(put(mapping, 0, 'a'), 0);
	EQ(put(mapping, (dax_loff_t)1 << 50, 'm'), 0);
	EQ(extents(mapping), 5);
	is_row(0, DAX_IOMAP_MAPPED, 0, 1);
	EQ(row[4].type, DAX_IOMAP_MAPPED);
	EQ(row[4].offset, last + 1 - PAGE);
	check_invariants(mapping);
	EQ(dax_mapping_truncate(mapping, 1), 0);
	EQ(allocated(mapping), 1);
	check_invariants(mapping);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

int main(void)
{
	plan(19);
	tmpdir_make();
	run("holes cost nothing", holes);
	run("neighbours get neighbouring blocks", contiguous);
	run("ahead of a store", ahead_of_a_store);
	run("2 MiB are aligned on the device", aligned_for_pmd);
	run("two files never share a block", two_files);
	run("freed blocks are zeroed before they are used again", freed_blocks_are_zeroed);
	run("old content of the device is never seen", old_content_is_zeroed);
	run("nor through faults of 2 MiB", old_content_under_faults);
	run("a full device is -ENOSPC and nothing changed", full);
	run("UNWRITTEN reads as zeroes and becomes NEW data", unwritten);
	run("fallocate grows the file", fallocate_grows);
	run("fallocate is all or nothing when the device is full", fallocate_rolls_back);
	run("fallocate: every allocation fails in turn", fallocate_without_memory);
	run("pwrite: every allocation fails in turn", pwrite_without_memory);
	run("new file: every allocation fails in turn", new_without_memory);
	run("faults: every allocation fails in turn", fault_without_memory);
	run("a 2 MiB store that falls back leaves no stale zeroes", fallback_leaves_no_stale_zeroes);
	run("nor when the 4 KiB fault after it has no memory", fallback_without_memory);
	run("the last page a file can have", far_pages);
	return done();
}
