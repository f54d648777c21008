/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_fault_around.c -- runs of faults, and blocks taken ahead
 *
 * The file lies over the built-in block map, with a table before it that counts
 * and fails; its vma's table of calls counts and fails insert_run().
 */
#include "fault_around.h"

#include "ahead.h"
#include "extent_map.h"
#include "fixture.h"
#include "frames.h"
#include "invariants.h"
#include "mock_map.h"
#include "oom.h"
#include "step.h"

enum {
	PAGES = 1024,
	DEVICE = 8192,
	SHARED = RW | DAX_VM_SHARED,
	RUN = 64
};

static struct dax_device *dev;
static struct dax_mapping *file;
static struct extent_map *map;
static struct dax_vma *vma;

/* ---- a block map and page tables that count and fail ------------------------------ */

static struct dax_iomap_ops ops;
static struct dax_vm_ops vm_ops;
static const struct dax_vm_ops *soft_ops;
static _Atomic unsigned int begins, ends, inserts, punches;
static unsigned int fail_begin, fail_insert;
static int begin_error, punch_error;

static int begin(struct dax_mapping *mapping, void *private_data, dax_loff_t pos,
		 uint64_t length, unsigned int flags, struct dax_iomap *iomap)
{
	int ret;

	if (!(flags & DAX_IOMAP_FAULT))
		return extent_map_ops.iomap_begin(mapping, private_data, pos, length,
						  flags, iomap);
	if (++begins == fail_begin)
		return begin_error;
	ret = extent_map_ops.iomap_begin(mapping, private_data, pos, length, flags,
					 iomap);
	ends += !ret;
	return ret;
}

static int end(struct dax_mapping *mapping, void *private_data, dax_loff_t pos,
	       uint64_t length, int64_t written, unsigned int flags,
	       struct dax_iomap *iomap)
{
	(void)mapping;
	(void)private_data;
	(void)pos;
	(void)iomap;
	CHECK(written >= 0 && (uint64_t)written <= length);
	ends -= !!(flags & DAX_IOMAP_FAULT);
	return 0;
}

static int punch(struct dax_mapping *mapping, void *private_data, dax_loff_t pos,
		 uint64_t len)
{
	punches++;
	return punch_error ? punch_error
			   : extent_map_ops.punch(mapping, private_data, pos, len);
}

static int insert_run(struct dax_vm_fault *vmf, dax_pgoff_t pgoff, unsigned int nr,
		      dax_pfn_t pfn, bool mkwrite)
{
	inserts++;
	if (inserts == fail_insert)
		return -ENOMEM;
	return soft_ops->insert_run(vmf, pgoff, nr, pfn, mkwrite);
}

static struct dax_vma *map_range(dax_pgoff_t first, dax_pgoff_t nr,
				 unsigned int flags, unsigned int pages,
				 uint64_t address)
{
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .flags = flags, .pages = pages,
		.offset = (dax_loff_t)(first << DAX_PAGE_SHIFT),
		.length = nr << DAX_PAGE_SHIFT, .address = address,
	};
	struct dax_vma *new = NULL;

	MUST(!dax_vma_new(&new, file, &attr));
	soft_ops = new->vm_ops;
	vm_ops = *soft_ops;
	vm_ops.insert_run = insert_run;
	new->vm_ops = &vm_ops;
	return new;
}

static struct dax_vma *map_pte(void)
{
	return map_range(0, PAGES, SHARED, DAX_PAGES_PTE, 0);
}

static void no_hooks(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	begins = ends = inserts = punches = 0;
	fail_begin = fail_insert = 0;
	begin_error = punch_error = 0;
}

static void set_up_on(uint64_t blocks)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr), .size = PAGES * PAGE, .ops = &ops,
	};

	no_hooks();
	ops = extent_map_ops;
	ops.iomap_begin = begin;
	ops.iomap_end = end;
	ops.punch = punch;
	dev = new_device(blocks << DAX_PAGE_SHIFT);
	MUST(!extent_map_new(&map, dev, attr.size));
	attr.private_data = map;
	MUST(!dax_mapping_new(&file, dev, &attr));
	vma = map_pte();
}

static void set_up(void)
{
	set_up_on(DEVICE);
}

static void tear_down(void)
{
	no_hooks();
	check_invariants(file);
	if (vma)
		dax_vma_put(vma);
	check_invariants(file);
	CHECK(!file->ahead);
	check_owners(dev, &file, 1);
	EQ(ends, 0);
	dax_mapping_put(file);
	dax_device_put(dev);
	check_wait_table();
}

/* ---- looking ---------------------------------------------------------------------- */

static uint64_t blocks(void)
{
	return extent_map_allocated(map) >> DAX_PAGE_SHIFT;
}

static void *entry_at(dax_pgoff_t page)
{
	return radix_tree_lookup(&file->i_pages, page);
}

static bool has_tag(dax_pgoff_t page, enum radix_tree_tag tag)
{
	struct radix_tree_iter iter;

	return radix_tree_walk(&file->i_pages, page, 0, &iter) && iter.entry &&
	       radix_tree_tag_get(&iter, tag);
}

static bool is_ahead(dax_pgoff_t page)
{
	return has_tag(page, DAX_PAGECACHE_TAG_AHEAD);
}

static bool is_dirty(dax_pgoff_t page)
{
	return has_tag(page, DAX_PAGECACHE_TAG_DIRTY);
}

static unsigned int nr_ahead(void)
{
	unsigned int nr = 0;

	for (dax_pgoff_t page = 0; page < PAGES; page++)
		nr += is_ahead(page);
	return nr;
}

static uint64_t leaf(dax_pgoff_t page)
{
	return vma_soft_leaf(vma, page);
}

static int64_t load_run(dax_pgoff_t page, unsigned int nr)
{
	return vma_fault_around(vma, page, nr, false);
}

static int64_t store_run(dax_pgoff_t page, unsigned int nr)
{
	return vma_fault_around(vma, page, nr, true);
}

static int store_at(dax_pgoff_t page, int value)
{
	return store(vma, page << DAX_PAGE_SHIFT, value);
}

static int load_at(dax_pgoff_t page)
{
	return load(vma, page << DAX_PAGE_SHIFT);
}

/* What the CPU does with a leaf that is writable. */
static void store_unseen(dax_pgoff_t page, int value)
{
	CHECK(leaf(page) & LEAF_WRITE);
	*(char *)pfn_to_kaddr(leaf(page) >> DAX_PAGE_SHIFT) = (char)value;
}

/* ---- loads --------------------------------------------------------------------------- */

static void loads_of_a_hole(void)
{
	set_up();
	EQ(load_run(0, RUN), RUN);
	EQ(begins, 1);
	EQ(inserts, 1);
	for (dax_pgoff_t page = 0; page < RUN; page++) {
		CHECK(dax_is_zero_entry(entry_at(page)));
		EQ(leaf(page) >> DAX_PAGE_SHIFT, DAX_ZERO_PFN);
		CHECK(!(leaf(page) & LEAF_WRITE));
	}
	CHECK(!entry_at(RUN) && !leaf(RUN));
	EQ(stat_of(file, DAX_STAT_LOAD_HOLE), RUN);
	EQ(stat_of(file, DAX_STAT_FAULT_AROUND), RUN);
	EQ(blocks(), 0);
	EQ(load_run(0, RUN), RUN);	/* all leaves are there */
	EQ(inserts, 2);
	tear_down();
}

static void loads_of_blocks(void)
{
	set_up();
	EQ(fill(file, 0, 16 * PAGE, 7), 16 * PAGE);
	EQ(load_run(0, RUN), 16);
	EQ(begins, 1);
	EQ(inserts, 1);
	for (dax_pgoff_t page = 0; page < 16; page++) {
		CHECK(dax_is_data_entry(entry_at(page)));
		CHECK(!is_dirty(page) && !is_ahead(page));
		CHECK(leaf(page) && !(leaf(page) & LEAF_WRITE));
		EQ(load_at(page), 7);
	}
	EQ(begins, 1);
	CHECK(!entry_at(16));
	EQ(load_run(16, 8), 8);
	EQ(load_at(23), 0);
	check_leaf_bytes(file);
	tear_down();
}

/* Leaves that are there stay; DIRTY entries stay DIRTY. */
static void loads_over_what_is_there(void)
{
	set_up();
	EQ(store_at(3, 9), 0);
	EQ(load_at(5), 0);
	EQ(load_run(0, RUN), 3);
	EQ(load_run(3, RUN), 1);
	CHECK(leaf(3) & LEAF_WRITE && is_dirty(3));
	EQ(load_run(4, RUN), RUN);
	EQ(load_at(3), 9);
	tear_down();
}

/* ---- where a run ends ------------------------------------------------------------------ */

static void a_run_ends_with_the_file(void)
{
	set_up();
	EQ(dax_mapping_truncate(file, 20 * PAGE + 1), 0);
	EQ(load_run(16, RUN), 5);
	EQ(vma_fault_around(vma, 21, RUN, false), -EFAULT);
	EQ(store_run(19, RUN), 2);
	CHECK(is_ahead(20));
	tear_down();
}

static void a_run_ends_with_the_vma(void)
{
	set_up();
	dax_vma_put(vma);
	vma = map_range(8, 8, SHARED, DAX_PAGES_PTE, 0);
	EQ(load_run(10, RUN), 6);
	EQ(store_run(10, RUN), 6);
	tear_down();
}

static void a_run_ends_with_its_page_table(void)
{
	set_up();
	EQ(load_run(500, RUN), 12);
	dax_vma_put(vma);
	vma = map_range(0, PAGES, SHARED, DAX_PAGES_PTE, (1 << 30) + 12 * PAGE);
	EQ(load_run(490, RUN), 10);
	EQ(load_run(500, 1000), 512);
	tear_down();
}

static void a_run_ends_before_2_mib(void)
{
	struct dax_vma *huge;

	set_up();
	huge = map_range(0, PAGES, DAX_VM_READ | DAX_VM_SHARED, DAX_PAGES_PMD, 0);
	EQ(load(huge, 512 * PAGE), 0);
	CHECK(dax_is_pmd_entry(entry_at(512)));
	dax_vma_put(vma);
	vma = map_range(0, PAGES, SHARED, DAX_PAGES_PTE, (1 << 30) + 500 * PAGE);
	EQ(load_run(500, RUN), 12);
	CHECK(dax_is_pmd_entry(entry_at(512)));
	dax_vma_put(huge);
	tear_down();
}

/* Where 2 MiB may come they come first. */
static void a_vma_of_both_sizes(void)
{
	set_up();
	dax_vma_put(vma);
	vma = map_range(0, PAGES, SHARED, DAX_PAGES_AUTO, 0);
	EQ(load_run(0, RUN), 1);
	CHECK(leaf(0) & LEAF_HUGE);
	EQ(load_run(1, RUN), 1);
	EQ(store_at(0, 1), 0);
	EQ(begins, 2);
	EQ(dax_mapping_truncate(file, 600 * PAGE), 0);
	EQ(store_at(512, 1), 0);
	EQ(load_run(513, RUN), RUN);
	tear_down();
}

/* ---- who has none ------------------------------------------------------------------------ */

static void nothing_around(int64_t expect, bool write)
{
	inserts = 0;
	EQ(vma_fault_around(vma, 0, RUN, write), expect);
	EQ(inserts, 0);
	EQ(nr_ahead(), 0);
}

static void some_vmas_have_none(void)
{
	set_up();
	dax_vma_put(vma);
	vma = map_range(0, PAGES, SHARED, DAX_PAGES_PMD, 0);
	nothing_around(1, false);
	nothing_around(1, true);
	EQ(dax_mapping_punch_hole(file, 0, PAGES * PAGE), 0);
	dax_vma_put(vma);
	vma = map_range(0, PAGES, RW, DAX_PAGES_PTE, 0);
	nothing_around(1, false);
	nothing_around(1, true);
	dax_vma_put(vma);
	vma = map_range(0, PAGES, DAX_VM_READ, DAX_PAGES_PTE, 0);
	EQ(dax_mapping_punch_hole(file, 0, PAGES * PAGE), 0);
	EQ(load_run(0, RUN), RUN);
	EQ(store_run(0, RUN), -EACCES);
	tear_down();
}

static void synchronous_vmas_have_none(void)
{
	struct dax_device *pmem;
	struct dax_mapping *old;
	struct dax_vma *old_vma;

	set_up();
	old = file;
	old_vma = vma;
	MUST(!dax_device_emulate_pmem(&pmem, PAGES * PAGE));
	file = new_file(pmem, PAGES * PAGE);
	vma = map_range(0, PAGES, SHARED | DAX_VM_SYNC, DAX_PAGES_PTE, 0);
	nothing_around(1, true);
	nothing_around(1, false);
	dax_vma_put(vma);
	dax_mapping_put(file);
	dax_device_put(pmem);
	file = old;
	vma = old_vma;
	tear_down();
}

static void the_page_cache_has_none(void)
{
	struct dax_mapping *old;
	struct dax_vma *old_vma;

	set_up();
	old = file;
	old_vma = vma;
	file = new_cached_file(dev, PAGES * PAGE, DAX_PAGE_POOL_COLD);
	vma = map_pte();
	nothing_around(1, false);
	nothing_around(1, true);
	dax_vma_put(vma);
	dax_mapping_put(file);
	file = old;
	vma = old_vma;
	tear_down();
}

static void a_block_map_without_punch_takes_none(void)
{
	set_up();
	ops.punch = NULL;
	nothing_around(1, true);
	inserts = 0;
	EQ(load_run(8, RUN), RUN);
	ops.punch = punch;
	tear_down();
}

static void frozen_body(void *arg)
{
	(void)arg;
	EQ(store_run(8, RUN), 1);
}

/* The ordinary fault waits; when it is let go on it is a fault of one page. */
static void a_frozen_file_has_none(void)
{
	struct step step;

	set_up();
	EQ(store_run(0, 8), 8);
	EQ(dax_mapping_freeze(file), 0);
	EQ(nr_ahead(), 0);
	EQ(blocks(), 1);
	EQ(load_run(300, 8), 1);
	dax_test.yield = step_yield;
	step_start(&step, frozen_body, NULL, DAX_TEST_FROZEN);
	MUST(step_parked(&step));
	EQ(nr_ahead(), 0);
	EQ(dax_mapping_thaw(file), 0);
	step_go(&step, STEP_NOWHERE);
	step_join(&step);
	EQ(nr_ahead(), 0);
	tear_down();
}

/* ---- stores ---------------------------------------------------------------------------------- */

static void a_store_takes_a_run(void)
{
	set_up();
	EQ(store_run(10, RUN), RUN);
	EQ(begins, 1);
	EQ(inserts, 1);
	EQ(blocks(), RUN);
	CHECK(is_dirty(10) && !is_ahead(10));
	for (dax_pgoff_t page = 11; page < 10 + RUN; page++) {
		CHECK(is_ahead(page) && !is_dirty(page));
		CHECK(leaf(page) & LEAF_WRITE);
		EQ(leaf(page) >> DAX_PAGE_SHIFT, (leaf(10) >> DAX_PAGE_SHIFT) + (page - 10));
	}
	EQ(stat_of(file, DAX_STAT_MAJOR_FAULT), 1);
	check_invariants(file);
	check_leaf_bytes(file);
	tear_down();
}

static uint64_t touch_all(struct fault_streak *streak, dax_pgoff_t first,
			  dax_pgoff_t last)
{
	uint64_t faults = 0;

	for (dax_pgoff_t page = first; page <= last; page++) {
		if (!(leaf(page) & LEAF_WRITE)) {
			int64_t nr = store_run(page, fault_streak_begin(streak, page));

			MUST(nr > 0);
			fault_streak_end(streak, page, (uint64_t)nr);
			faults++;
		}
		store_unseen(page, 1 + (int)(page % 100));
	}
	return faults;
}

static void neighbouring_first_writes(void)
{
	struct fault_streak streak = { 0 };

	set_up();
	EQ(touch_all(&streak, 0, 511), 4);
	CHECK(begins <= 8 && inserts <= 8);
	EQ(begins, 4);
	EQ(inserts, 3);
	EQ(blocks(), 512);
	EQ(nr_ahead(), 508);
	EQ(dax_mapping_fsync(file, NULL), 0);
	EQ(stat_of(file, DAX_STAT_WRITEBACK_ONE), 512);
	EQ(stat_of(file, DAX_STAT_AHEAD_GIVEN_BACK), 0);
	check_after_fsync(file, 0, PAGES - 1);
	EQ(blocks(), 512);
	EQ(nr_ahead(), 0);
	for (dax_pgoff_t page = 0; page < 512; page++)
		EQ(get(file, (dax_loff_t)page * PAGE), 1 + (int)(page % 100));
	/* The streak goes on in the next 2 MiB. */
	EQ(touch_all(&streak, 512, 1023), 1);
	tear_down();
}

static void a_streak_grows_and_ends(void)
{
	struct fault_streak streak = { 0 };

	EQ(fault_streak_begin(&streak, 7), 1);
	fault_streak_end(&streak, 7, 1);
	EQ(fault_streak_begin(&streak, 8), 8);
	fault_streak_end(&streak, 8, 8);
	EQ(fault_streak_begin(&streak, 16), 64);
	fault_streak_end(&streak, 16, 3);
	EQ(fault_streak_begin(&streak, 19), 512);
	fault_streak_end(&streak, 19, 512);
	EQ(fault_streak_begin(&streak, 531), 512);
	fault_streak_end(&streak, 531, 512);
	EQ(fault_streak_begin(&streak, 0), 1);
	fault_streak_end(&streak, 0, 1);
	EQ(fault_streak_begin(&streak, 2), 1);
}

/* Pages that have a block, set aside or with bytes, are not taken ahead. */
static void a_run_ends_before_a_block(void)
{
	set_up();
	EQ(put(file, 20 * PAGE, 5), 0);
	EQ(store_run(10, RUN), 10);
	EQ(blocks(), 11);
	EQ(load_at(20), 5);
	EQ(load_at(40), 0);
	EQ(store_run(20, RUN), 1);
	EQ(store_run(30, RUN), RUN);
	CHECK(is_ahead(40));
	EQ(dax_mapping_fallocate(file, 500 * PAGE, 8 * PAGE), 0);
	EQ(blocks(), 3 + 8);
	EQ(store_run(500, RUN), 1);
	EQ(store_run(490, 20), 10);
	EQ(dax_mapping_fsync(file, NULL), 0);
	EQ(blocks(), 4 + 8);
	tear_down();
}

/* Zero leaves of all mappings go before a page has a block. */
static void a_run_over_zero_pages(void)
{
	struct dax_vma *other;

	set_up();
	other = map_pte();
	for (dax_pgoff_t page = 0; page < RUN; page++)
		EQ(load(other, page * PAGE), 0);
	EQ(load_run(0, RUN), RUN);
	EQ(store_run(0, RUN), RUN);
	CHECK(!vma_soft_leaf(other, 5));
	store_unseen(5, 77);
	EQ(load(other, 5 * PAGE), 77);
	check_invariants(file);
	dax_vma_put(other);
	tear_down();
}

/* ---- giving back -------------------------------------------------------------------------------- */

/* Pages 0 to RUN - 1 are taken; 0, 1, 30 and the last are stored to. */
static void take_some(void)
{
	EQ(store_run(0, RUN), RUN);
	EQ(store_at(0, 1), 0);
	store_unseen(1, 2);
	store_unseen(30, 3);
	CHECK(leaf(RUN - 1) & LEAF_WRITE);	/* its last byte alone */
	*((char *)pfn_to_kaddr((leaf(RUN - 1) >> DAX_PAGE_SHIFT) + 1) - 1) = 4;
	EQ(blocks(), RUN);
}

static void check_given_back(void)
{
	EQ(blocks(), 4);
	EQ(nr_ahead(), 0);
	CHECK(!file->ahead);
	EQ(get(file, 0), 1);
	EQ(get(file, PAGE), 2);
	EQ(get(file, 30 * PAGE), 3);
	EQ(get(file, RUN * PAGE - 1), 4);
	CHECK(!entry_at(2) && !entry_at(29) && !entry_at(31));
	EQ(get(file, 2 * PAGE), 0);
	EQ(stat_of(file, DAX_STAT_AHEAD_GIVEN_BACK), RUN - 4);
}

static void given_back_by(int (*what)(void))
{
	set_up();
	take_some();
	EQ(what(), 0);
	check_given_back();
	EQ(punches, 2);
	if (vma) {
		CHECK(!leaf(2) && !leaf(31));
		EQ(load_at(2), 0);
		EQ(load_at(30), 3);
	}
	check_invariants(file);
	tear_down();
}

static int by_call(void)
{
	return mapping_give_back_ahead(file);
}

static int by_fsync(void)
{
	int ret = dax_mapping_fsync(file, NULL);

	check_after_fsync(file, 0, PAGES - 1);
	EQ(stat_of(file, DAX_STAT_WRITEBACK_ONE), 4);
	return ret;
}

static int by_extents(void)
{
	struct dax_extent row[16];
	dax_loff_t pos = 0;
	int64_t nr = dax_mapping_extents(file, &pos, row, 16);
	uint64_t data = 0;

	for (int64_t i = 0; i < nr; i++)
		data += row[i].type == DAX_IOMAP_HOLE ? 0 : row[i].length;
	EQ(data, 4 * PAGE);
	return nr < 0;
}

static int by_closing_the_vma(void)
{
	dax_vma_put(vma);
	vma = NULL;
	return 0;
}

static int by_fallocate(void)
{
	return dax_mapping_fallocate(file, 900 * PAGE, PAGE) ||
	       dax_mapping_punch_hole(file, 900 * PAGE, PAGE);
}

static int by_truncate(void)
{
	return dax_mapping_truncate(file, (PAGES - 1) * PAGE);
}

static int by_growth(void)
{
	return dax_mapping_truncate(file, 10000 * PAGE);
}

static int by_freeze(void)
{
	return dax_mapping_freeze(file) || dax_mapping_thaw(file);
}

static void given_back_by_the_call(void)
{
	given_back_by(by_call);
}

static void given_back_by_fsync(void)
{
	given_back_by(by_fsync);
}

static void given_back_by_extents(void)
{
	given_back_by(by_extents);
}

static void given_back_by_munmap(void)
{
	given_back_by(by_closing_the_vma);
}

static void given_back_by_truncate(void)
{
	given_back_by(by_truncate);
}

static void given_back_by_freeze(void)
{
	given_back_by(by_freeze);
}

static void given_back_by_fallocate(void)
{
	set_up();
	take_some();
	EQ(by_fallocate(), 0);
	check_given_back();
	tear_down();
}

/* What fallocate sets aside stays, whatever was taken ahead there. */
static void fallocate_over_pages_taken_ahead(void)
{
	set_up();
	take_some();
	EQ(dax_mapping_fallocate(file, 0, RUN * PAGE), 0);
	EQ(blocks(), RUN);
	EQ(dax_mapping_fsync(file, NULL), 0);
	EQ(blocks(), RUN);
	tear_down();
}

static void writeback_of_a_range_settles_that(void)
{
	set_up();
	take_some();
	EQ(dax_mapping_writeback(file, 16 * PAGE, 16 * PAGE), 1);
	EQ(blocks(), RUN - 15);
	CHECK(is_ahead(15) && !entry_at(16) && is_ahead(32));
	CHECK(file->ahead && !is_dirty(30));
	EQ(by_call(), 0);
	check_given_back();
	tear_down();
}

/* More than are settled under the locks at a time. */
static void settled_in_batches_by(int (*what)(void))
{
	const dax_pgoff_t many = 9000;

	set_up_on(40000);
	EQ(dax_mapping_truncate(file, (dax_loff_t)many * PAGE), 0);
	dax_vma_put(vma);
	vma = map_range(0, many, SHARED, DAX_PAGES_PTE, 0);
	for (dax_pgoff_t page = 0; page < many; page += 512)
		EQ(store_run(page, 512), many - page < 512 ? many - page : 512);
	EQ(blocks(), many);
	for (dax_pgoff_t page = 0; page < many; page += 100)
		store_unseen(page, 1);
	EQ(what(), 0);
	EQ(blocks(), many / 100 + 17);	/* and first pages of runs */
	CHECK(!file->ahead);
	check_tree_exact(&file->i_pages);
	tear_down();
}

static void settled_in_batches(void)
{
	settled_in_batches_by(by_call);
	settled_in_batches_by(by_growth);
}

static void a_store_of_a_fault_keeps_the_page(void)
{
	struct dax_vma *other;

	set_up();
	other = map_pte();
	EQ(store_run(0, 8), 8);
	EQ(store(other, 3 * PAGE, 0), 0);
	CHECK(is_dirty(3) && is_ahead(3));
	EQ(by_call(), 0);
	EQ(blocks(), 2);
	CHECK(is_dirty(3) && !is_ahead(3));
	dax_vma_put(other);
	tear_down();
}

static void a_pinned_page_is_kept(void)
{
	struct dax_pin pin;

	set_up();
	EQ(store_run(0, 8), 8);
	EQ(dax_pin_pages(file, 3 * PAGE, PAGE, 0, &pin), PAGE);
	EQ(by_call(), 0);
	EQ(blocks(), 2);
	CHECK(is_dirty(3));
	EQ(dax_unpin_pages(&pin, 0), 0);
	tear_down();
}

static int cpu_value;

static void cpu_stores(enum dax_test_point point)
{
	if (point == DAX_TEST_AHEAD_UNMAPPED)
		*(char *)pfn_to_kaddr(dax_radix_pfn(entry_at(5))) = (char)cpu_value;
}

/* A store by the CPU, after the first look, before its leaf was gone. */
static void a_store_between_the_looks(void)
{
	set_up();
	EQ(store_run(0, 8), 8);
	cpu_value = 55;
	dax_test.yield = cpu_stores;
	EQ(by_call(), 0);
	dax_test.yield = NULL;
	EQ(blocks(), 2);
	EQ(load_at(5), 55);
	tear_down();
}

static void what_cannot_be_given_back_stays(void)
{
	set_up();
	take_some();
	punch_error = -EIO;
	EQ(dax_mapping_fsync(file, NULL), 0);
	EQ(blocks(), RUN);
	EQ(nr_ahead(), 0);
	EQ(stat_of(file, DAX_STAT_WRITEBACK_ONE), RUN);
	EQ(load_at(2), 0);
	check_tree_exact(&file->i_pages);
	check_after_fsync(file, 0, PAGES - 1);
	tear_down();
}

static void pwrite_into_pages_taken_ahead(void)
{
	set_up();
	EQ(store_run(0, 16), 16);
	EQ(put(file, 5 * PAGE + 9, 6), 0);
	EQ(dax_mapping_fsync(file, NULL), 0);
	EQ(blocks(), 2);
	EQ(get(file, 5 * PAGE + 9), 6);
	tear_down();
}

static void truncate_over_pages_taken_ahead(void)
{
	set_up();
	take_some();
	EQ(dax_mapping_truncate(file, 30 * PAGE + 1), 0);
	EQ(blocks(), 3);
	EQ(dax_mapping_truncate(file, PAGES * PAGE), 0);
	EQ(load_at(30), 3);
	EQ(load_at(RUN - 1), 0);
	tear_down();
}

static void punch_over_pages_taken_ahead(void)
{
	set_up();
	take_some();
	EQ(dax_mapping_punch_hole(file, 20 * PAGE, 20 * PAGE), 0);
	EQ(blocks(), 3);
	EQ(load_at(30), 0);
	EQ(load_at(1), 2);
	tear_down();
}

/* ---- clones --------------------------------------------------------------------------------------- */

static void a_clone_knows_none(void)
{
	struct dax_mapping *old, *clone = NULL, *files[3];
	struct dax_vma *old_vma;

	set_up();
	old = file;
	old_vma = vma;
	file = new_file(dev, PAGES * PAGE);
	vma = map_pte();
	EQ(store_run(0, RUN), RUN);
	store_unseen(3, 33);
	MUST(!dax_mapping_clone(&clone, file));
	EQ(gauge_of(file, DAX_GAUGE_ALLOCATED_BYTES), 2 * PAGE);
	EQ(gauge_of(clone, DAX_GAUGE_ALLOCATED_BYTES), 2 * PAGE);
	EQ(get(clone, 3 * PAGE), 33);
	EQ(store_run(3, RUN), 1);
	EQ(store_at(3, 44), 0);
	EQ(store_run(100, RUN), 1);
	EQ(load_run(0, RUN), 1);
	EQ(load_run(1, RUN), 2);
	EQ(get(clone, 3 * PAGE), 33);
	check_invariants(file);
	check_invariants(clone);
	files[0] = file;
	files[1] = clone;
	files[2] = old;
	check_owners(dev, files, 3);
	dax_vma_put(vma);
	dax_mapping_put(file);
	dax_mapping_put(clone);
	file = old;
	vma = old_vma;
	tear_down();
}

/* ---- failures ------------------------------------------------------------------------------------ */

/* The run fails, the page alone does not, or it says why. */
static void a_failing_block_map(void)
{
	static const int errors[] = { -ENOSPC, -EIO, -ENOMEM };

	set_up();
	for (unsigned int i = 0; i < 3; i++) {
		begin_error = errors[i];
		fail_begin = begins + 1;
		EQ(store_run(i * 100, RUN), 1);
		CHECK(!is_ahead(i * 100 + 1) && !entry_at(i * 100 + 1));
		fail_begin = begins + 1;
		EQ(load_run(i * 100 + 10, RUN), 1);
		check_invariants(file);
	}
	EQ(blocks(), 3);
	tear_down();
}

static int always_full(struct dax_mapping *mapping, void *private_data,
		       dax_loff_t pos, uint64_t length, unsigned int flags,
		       struct dax_iomap *iomap)
{
	if (flags & DAX_IOMAP_WRITE)
		return -ENOSPC;
	return begin(mapping, private_data, pos, length, flags, iomap);
}

static void a_full_device_is_the_page_s_error(void)
{
	set_up();
	ops.iomap_begin = always_full;
	EQ(store_run(0, RUN), -ENOSPC);
	EQ(load_run(0, RUN), RUN);
	EQ(store_run(0, RUN), -ENOSPC);
	EQ(load_at(0), 0);
	ops.iomap_begin = begin;
	tear_down();
}

/* A run is as long as there is room for, and leaves some for others. */
static void a_device_that_fills_up(void)
{
	set_up_on(64);
	EQ(store_run(0, RUN), 1 + 8);
	EQ(store_run(100, RUN), 1 + 6);
	EQ(blocks(), 16);
	EQ(load_run(200, RUN), RUN);
	for (dax_pgoff_t page = 200; page < 262; page++)
		EQ(store_at(page, 1), 0);
	EQ(blocks(), 64);
	EQ(nr_ahead(), 0);
	EQ(stat_of(file, DAX_STAT_AHEAD_GIVEN_BACK), 14);
	check_invariants(file);
	EQ(store_run(300, RUN), -ENOSPC);
	tear_down();
}

/* So it is to a pwrite, and to the fault of a run. */
static void what_was_ahead_is_there_for_others(void)
{
	set_up_on(16);
	EQ(store_run(0, RUN), 1 + 2);
	EQ(fill(file, 100 * PAGE, 13 * PAGE, 3), 13 * PAGE);
	EQ(blocks(), 16);
	EQ(put(file, 200 * PAGE, 4), 0);
	EQ(put(file, 201 * PAGE, 4), 0);
	EQ(put(file, 202 * PAGE, 4), -1);
	EQ(dax_mapping_punch_hole(file, 100 * PAGE, 8 * PAGE), 0);
	EQ(store_run(400, RUN), 1 + 1);
	EQ(fill(file, 500 * PAGE, 6 * PAGE, 3), 6 * PAGE);
	EQ(blocks(), 16);
	EQ(store_run(600, RUN), 1);
	EQ(store_run(700, RUN), -ENOSPC);
	EQ(get(file, 200 * PAGE), 4);
	tear_down();
}

static void leaves_that_find_no_room(void)
{
	set_up();
	fail_insert = 1;
	EQ(store_run(0, RUN), 1);
	CHECK(is_dirty(0) && is_ahead(1) && !leaf(1));
	EQ(blocks(), RUN);
	check_invariants(file);
	fail_insert = inserts + 1;
	EQ(load_run(100, RUN), 1);
	check_invariants(file);
	fail_insert = inserts + 1;
	EQ(store_run(100, RUN), 1);
	check_invariants(file);
	EQ(by_call(), 0);
	EQ(blocks(), 2);
	tear_down();
}

static void oom_in(bool write)
{
	OOM_LOOP(n) {
		int64_t nr;

		set_up();
		oom_fail_nth(n);
		nr = vma_fault_around(vma, 0, RUN, write);
		oom_clear();
		CHECK(nr == -ENOMEM || nr > 0);
		check_invariants(file);
		EQ(by_call(), 0);
		CHECK(blocks() <= write);
		tear_down();
		if (!oom_fired())
			break;
	}
	CHECK(oom_rounds() > 2);
}

static void oom_everywhere(void)
{
	oom_in(false);
	oom_in(true);
}

/* For good from the n-th on. */
static void oom_for_long(void)
{
	OOM_LOOP(n) {
		set_up();
		oom_fail_from(n);
		store_run(0, RUN);
		mapping_give_back_ahead(file);
		oom_clear();
		check_invariants(file);
		tear_down();
		if (!oom_fired())
			break;
	}
}

/* ---- a block map that answers what it likes --------------------------------------------------------- */

static unsigned int mock_type, mock_flags;
static uint64_t mock_addr, mock_pages, mock_bytes;

static int mock_answer(struct mock *mock, dax_loff_t pos, uint64_t length,
		       unsigned int flags, struct dax_iomap *iomap)
{
	(void)mock;
	(void)length;
	if (flags & DAX_IOMAP_REPORT && mock_flags & DAX_IOMAP_F_AHEAD)
		return mock_linear(mock, pos, length, flags, iomap);
	iomap->type = (uint16_t)mock_type;
	iomap->flags = (uint16_t)mock_flags;
	iomap->offset = pos;
	iomap->addr = (uint64_t)pos + mock_addr;
	iomap->length = mock_pages * DAX_PAGE_SIZE + mock_bytes;
	return 0;
}

static int64_t mocked(struct mock *mock, bool write)
{
	int64_t ret = vma_fault_around(vma, 0, RUN, write);

	CHECK(mock_is_paired(mock));
	check_tree_and_leaves(file);
	return ret;
}

static void answers_of_all_kinds(void)
{
	struct mock mock = { .answer = mock_answer };
	struct dax_mapping *old;
	struct dax_vma *old_vma;

	set_up();
	old = file;
	old_vma = vma;
	file = mock_file(&mock, dev, PAGES * PAGE);
	vma = map_pte();
	mock_type = DAX_IOMAP_UNWRITTEN;
	mock_pages = 5;
	EQ(mocked(&mock, false), 5);
	EQ(mock.length, 64 * PAGE);
	EQ(mock.flags, DAX_IOMAP_FAULT);
	EQ(mock.written, 5 * PAGE);
	mock_type = 1;
	EQ(mocked(&mock, false), 1);	/* the leaf is there */
	mock_type = DAX_IOMAP_MAPPED;
	mock_flags = DAX_IOMAP_F_NEW;
	EQ(mocked(&mock, true), 1);	/* not said to be ahead */
	EQ(mock.flags, DAX_IOMAP_FAULT | DAX_IOMAP_WRITE | DAX_IOMAP_AHEAD);
	EQ(mock.written, PAGE);
	EQ(nr_ahead(), 0);
	EQ(dax_mapping_truncate(file, 0), 0);
	EQ(dax_mapping_truncate(file, PAGES * PAGE), 0);
	mock_addr = 100;		/* not at a page: the fault says so */
	EQ(mocked(&mock, false), -EINVAL);
	EQ(mocked(&mock, true), -EINVAL);
	mock_addr = 1 << 30;		/* past the device */
	CHECK(mocked(&mock, false) < 0);
	CHECK(mocked(&mock, true) < 0);
	mock_addr = 0;
	mock_type = DAX_IOMAP_HOLE;	/* under a write */
	EQ(mocked(&mock, true), -EIO);
	mock_type = DAX_IOMAP_MAPPED;
	mock_flags = DAX_IOMAP_F_NEW | DAX_IOMAP_F_AHEAD;
	mock_pages = 1000;
	EQ(mocked(&mock, true), RUN);
	EQ(nr_ahead(), RUN - 1);
	EQ(vma_fault_around(vma, 203, 1, true), 1);
	CHECK(is_dirty(203));
	EQ(vma_fault_around(vma, 200, RUN, true), 3);	/* that was no hole */
	CHECK(!is_ahead(203));
	mock_type = DAX_IOMAP_HOLE;	/* where there are blocks */
	mock_flags = 0;
	EQ(vma_fault_around(vma, RUN, 8, false), 8);
	EQ(vma_fault_around(vma, RUN - 1, 8, false), 1);
	EQ(dax_mapping_truncate(file, 510 * PAGE + 7), 0);
	mock_pages = 10;		/* a hole that ends with the file */
	mock_bytes = 7;
	EQ(vma_fault_around(vma, 500, 20, false), 11);
	mock_bytes = 0;
	dax_vma_put(vma);
	dax_mapping_put(file);
	file = old;
	vma = old_vma;
	tear_down();
}

/* Blocks that have moved: entries, leaves and tags of the old ones go. */
static void blocks_that_have_moved(void)
{
	struct mock mock = { .answer = mock_answer };
	struct dax_mapping *old;
	struct dax_vma *old_vma;

	set_up();
	old = file;
	old_vma = vma;
	file = mock_file(&mock, dev, PAGES * PAGE);
	vma = map_pte();
	mock_type = DAX_IOMAP_MAPPED;
	mock_flags = DAX_IOMAP_F_NEW | DAX_IOMAP_F_AHEAD;
	mock_pages = 8;
	mock_addr = 0;
	EQ(mocked(&mock, true), 8);
	mock_flags = 0;
	mock_addr = 100 * PAGE;
	EQ(mocked(&mock, false), 8);
	EQ(nr_ahead(), 0);
	CHECK(!is_dirty(0));
	for (dax_pgoff_t page = 0; page < 8; page++) {
		EQ(dax_radix_pfn(entry_at(page)), dev->pfn_base + 100 + page);
		EQ(leaf(page) >> DAX_PAGE_SHIFT, dev->pfn_base + 100 + page);
	}
	mock_addr = 200 * PAGE;
	EQ(mocked(&mock, true), 1);
	EQ(leaf(0) >> DAX_PAGE_SHIFT, dev->pfn_base + 200);
	dax_vma_put(vma);
	dax_mapping_put(file);
	file = old;
	vma = old_vma;
	tear_down();
}

/* The fault is not that of the first page: a load may be, a store may not. */
static void a_run_beside_the_fault(void)
{
	struct dax_vm_fault vmf = { .write = true, .pgoff = 5 };

	set_up();
	vmf.vma = vma;
	MUST(!mapping_lock_shared(file, &vmf.area));
	EQ(iomap_fault_around(&vmf, 6, 8), 0);
	EQ(iomap_fault_around(&vmf, 0, 8), 0);
	EQ(begins, 0);
	vmf.write = false;
	EQ(iomap_fault_around(&vmf, 6, 8), 8);
	EQ(iomap_fault_around(&vmf, 2, 4), 4);
	EQ(iomap_fault_around(&vmf, PAGES, 4), 0);
	EQ(iomap_fault_around(&vmf, 0, 1), 0);
	CHECK(leaf(5) && leaf(13) && !leaf(1) && !leaf(14));
	mapping_unlock_shared(file, vmf.area);
	tear_down();
}

static int no_table(struct dax_vm_fault *vmf)
{
	(void)vmf;
	return -ENOMEM;
}

/* It comes first: nothing has been changed or asked. */
static void no_page_table(void)
{
	set_up();
	vm_ops.pte_alloc = no_table;
	EQ(load_run(0, RUN), -ENOMEM);
	EQ(store_run(0, RUN), -ENOMEM);
	EQ(begins, 0);
	CHECK(!entry_at(0) && !entry_at(1));
	vm_ops.pte_alloc = soft_ops->pte_alloc;
	tear_down();
}

/* ---- beside others ------------------------------------------------------------------------------------ */

struct side {
	dax_pgoff_t page;
	int value;
	int64_t ret;
};

static void body_store(void *arg)
{
	struct side *side = arg;

	side->ret = store_at(side->page, side->value);
}

static void body_store_run(void *arg)
{
	struct side *side = arg;

	side->ret = store_run(side->page, RUN);
}

static void body_load_run(void *arg)
{
	struct side *side = arg;

	side->ret = load_run(side->page, RUN);
}

static void body_truncate(void *arg)
{
	struct side *side = arg;

	side->ret = dax_mapping_truncate(file, (dax_loff_t)side->page * PAGE);
}

static void body_fsync(void *arg)
{
	struct side *side = arg;

	side->ret = dax_mapping_fsync(file, NULL);
}

static void body_put(void *arg)
{
	struct side *side = arg;

	side->ret = put(file, (dax_loff_t)side->page * PAGE, side->value);
}

/* A fault has page 20: the run ends before it. */
static void a_run_ends_at_a_locked_entry(void)
{
	struct side side = { .page = 20, .value = 5 };
	struct step step;

	set_up();
	dax_test.yield = step_yield;
	step_start(&step, body_store, &side, DAX_TEST_AFTER_IOMAP);
	MUST(step_parked(&step));
	EQ(load_run(10, RUN), 10);
	EQ(store_run(9, RUN), 11);
	step_go(&step, STEP_NOWHERE);
	step_join(&step);
	EQ(side.ret, 0);
	EQ(load_at(20), 5);
	EQ(load_run(21, 8), 8);
	tear_down();
}

/* Of the first it waits. */
static void the_first_entry_is_waited_for(void)
{
	struct side store = { .page = 20, .value = 5 }, run = { .page = 20 };
	struct step first, second;

	set_up();
	dax_test.yield = step_yield;
	dax_test.no_spin = true;
	step_start(&first, body_store, &store, DAX_TEST_AFTER_IOMAP);
	MUST(step_parked(&first));
	step_start_asleep(&second, body_load_run, &run, STEP_NOWHERE);
	step_go(&first, STEP_NOWHERE);
	step_join(&first);
	step_join(&second);
	EQ(run.ret, 1);		/* page 21 is a hole */
	EQ(store.ret, 0);
	tear_down();
}

/* Faults on pages of a run wait for it, and then find what it did; the entries
 * that it had no use for are gone, and who waited for one goes on. */
static void who_waits_for_a_run(void)
{
	struct side run = { .page = 0 };
	struct side in = { .page = 3, .value = 7 }, behind = { .page = 40, .value = 8 };
	struct step a, b, c;

	set_up();
	EQ(put(file, 32 * PAGE, 9), 0);
	dax_test.yield = step_yield;
	dax_test.no_spin = true;
	step_start(&a, body_store_run, &run, DAX_TEST_AFTER_IOMAP);
	MUST(step_parked(&a));
	step_start_asleep(&b, body_store, &in, STEP_NOWHERE);
	step_start_asleep(&c, body_store, &behind, STEP_NOWHERE);
	step_go(&a, STEP_NOWHERE);
	step_join(&a);
	step_join(&b);
	step_join(&c);
	EQ(run.ret, 32);
	EQ(in.ret, 0);
	EQ(behind.ret, 0);
	EQ(load_at(3), 7);
	EQ(load_at(40), 8);
	EQ(by_call(), 0);
	EQ(blocks(), 4);
	tear_down();
}

/* A truncate comes when the block map has been asked: it waits, and then takes
 * what the run took. */
static void truncate_beside_a_run(void)
{
	struct side run = { .page = 0 }, cut = { .page = 8 };
	struct step a, b;

	set_up();
	dax_test.yield = step_yield;
	step_start(&a, body_store_run, &run, DAX_TEST_AFTER_IOMAP);
	MUST(step_parked(&a));
	step_start(&b, body_truncate, &cut, STEP_NOWHERE);
	step_go(&a, STEP_NOWHERE);
	step_join(&a);
	step_join(&b);
	EQ(run.ret, RUN);
	EQ(cut.ret, 0);
	EQ(blocks(), 1);
	EQ(load(vma, 8 * PAGE), -1);
	tear_down();
}

/* A pwrite fills a page of the run when that has been locked: it changes the
 * block map first and then meets the entry. */
static void pwrite_beside_a_run(void)
{
	struct side run = { .page = 0 }, write = { .page = 5, .value = 6 };
	struct step a, b;

	set_up();
	dax_test.yield = step_yield;
	dax_test.no_spin = true;
	step_start(&a, body_load_run, &run, DAX_TEST_AFTER_IOMAP);
	MUST(step_parked(&a));
	step_start_asleep(&b, body_put, &write, STEP_NOWHERE);
	step_go(&a, STEP_NOWHERE);
	step_join(&a);
	step_join(&b);
	EQ(run.ret, RUN);
	EQ(write.ret, 0);
	EQ(load_at(5), 6);
	step_start(&a, body_load_run, &run, DAX_TEST_AFTER_GRAB);
	MUST(step_parked(&a));
	write = (struct side){ .page = 30, .value = 4 };
	step_start_asleep(&b, body_put, &write, STEP_NOWHERE);
	step_go(&a, STEP_NOWHERE);
	step_join(&a);
	step_join(&b);
	EQ(load_at(30), 4);
	tear_down();
}

/* An fsync covers what was stored unseen before, also to pages that a run took
 * while it was settling others. */
static void fsync_beside_a_run(void)
{
	struct side sync = { 0 };
	struct step a;

	set_up();
	take_some();
	dax_test.yield = step_yield;
	step_start(&a, body_fsync, &sync, DAX_TEST_WRITEBACK_LOCKED);
	MUST(step_parked(&a));
	EQ(store_run(100, RUN), RUN);
	store_unseen(101, 5);
	step_go(&a, STEP_NOWHERE);
	step_join(&a);
	EQ(sync.ret, 0);
	EQ(nr_ahead(), RUN - 1);
	EQ(dax_mapping_fsync(file, NULL), 0);
	check_after_fsync(file, 0, PAGES - 1);
	EQ(get(file, 101 * PAGE), 5);
	EQ(blocks(), 6);
	tear_down();
}

int main(void)
{
	plan(53);
	run("loads of a hole: one question, one insertion", loads_of_a_hole);
	run("loads of blocks", loads_of_blocks);
	run("loads over what is there", loads_over_what_is_there);
	run("a run ends with the file", a_run_ends_with_the_file);
	run("a run ends with the vma", a_run_ends_with_the_vma);
	run("a run ends with its page table", a_run_ends_with_its_page_table);
	run("a run ends before an entry of 2 MiB", a_run_ends_before_2_mib);
	run("a vma of both sizes", a_vma_of_both_sizes);
	run("private and 2 MiB vmas have none", some_vmas_have_none);
	run("synchronous vmas have none", synchronous_vmas_have_none);
	run("the page-cache policy has none", the_page_cache_has_none);
	run("a block map without punch takes none", a_block_map_without_punch_takes_none);
	run("a frozen file has none", a_frozen_file_has_none);
	run("a store takes a run of blocks", a_store_takes_a_run);
	run("512 neighbouring first writes", neighbouring_first_writes);
	run("a streak grows and ends", a_streak_grows_and_ends);
	run("a run ends before a page that has a block", a_run_ends_before_a_block);
	run("a run over zero pages of all mappings", a_run_over_zero_pages);
	run("given back by the call", given_back_by_the_call);
	run("given back by fsync", given_back_by_fsync);
	run("given back by extents", given_back_by_extents);
	run("given back by munmap", given_back_by_munmap);
	run("given back by truncate", given_back_by_truncate);
	run("given back by freeze", given_back_by_freeze);
	run("given back by fallocate", given_back_by_fallocate);
	run("fallocate over pages taken ahead", fallocate_over_pages_taken_ahead);
	run("writeback of a range settles that", writeback_of_a_range_settles_that);
	run("settled in batches", settled_in_batches);
	run("a store by a fault keeps the page", a_store_of_a_fault_keeps_the_page);
	run("a pinned page is kept", a_pinned_page_is_kept);
	run("a store between the two looks", a_store_between_the_looks);
	run("what cannot be given back stays", what_cannot_be_given_back_stays);
	run("pwrite into pages taken ahead", pwrite_into_pages_taken_ahead);
	run("truncate over pages taken ahead", truncate_over_pages_taken_ahead);
	run("punch over pages taken ahead", punch_over_pages_taken_ahead);
	run("a clone knows none", a_clone_knows_none);
	run("a failing block map", a_failing_block_map);
	run("a full device is the page's error", a_full_device_is_the_page_s_error);
	run("a device that fills up", a_device_that_fills_up);
	run("what was ahead is there for others", what_was_ahead_is_there_for_others);
	run("leaves that find no room", leaves_that_find_no_room);
	run("out of memory, each allocation", oom_everywhere);
	run("out of memory for good", oom_for_long);
	run("answers of all kinds", answers_of_all_kinds);
	run("blocks that have moved", blocks_that_have_moved);
	run("a run beside the fault", a_run_beside_the_fault);
	run("no page table", no_page_table);
	run("a run ends at a locked entry", a_run_ends_at_a_locked_entry);
	run("the first entry is waited for", the_first_entry_is_waited_for);
	run("who waits for a run", who_waits_for_a_run);
	run("truncate beside a run", truncate_beside_a_run);
	run("pwrite beside a run", pwrite_beside_a_run);
	run("fsync beside a run", fsync_beside_a_run);
	return done();
}
