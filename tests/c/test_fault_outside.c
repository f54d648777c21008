/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_fault_outside.c -- faults that go on with no lock held
 *
 * Synchronous faults: the block map saves where a block is before a leaf lets
 * anybody store to it.  What may happen meanwhile happens in the block map's
 * sync itself: it is called with no lock of the file held.
 */
#define _GNU_SOURCE
#include "frames.h"
#include "invalidate.h"
#include "invariants.h"
#include "oom.h"
#include "stats.h"
#include "step.h"
#include "tmpdir.h"
#include "white_box.h"

enum {
	FILE_PAGES = 4 * PMD_PAGES,
	BASE = PMD_PAGES,
	PAGE_NR = PMD_PAGES + 188,
	SYNC = RW_SHARED | DAX_VM_SYNC,
	NOPAGE = DAX_VM_FAULT_NOPAGE,
	F_NEW = DAX_IOMAP_F_NEW,
	F_DIRTY = DAX_IOMAP_F_DIRTY
};

static struct dax_vma *synced, *plain;
static unsigned int nr_syncs;
static int sync_ret;
static void (*in_sync)(void);

static int map_sync(struct dax_mapping *mapping, void *private_data)
{
	(void)mapping;
	CHECK(private_data == &fx.map);
	nr_syncs++;
	if (in_sync)
		in_sync();
	return sync_ret;
}

static int map_resize(struct dax_mapping *mapping, void *private_data,
		      dax_loff_t size)
{
	(void)mapping;
	(void)private_data;
	(void)size;
	return 0;
}

static struct dax_iomap_ops sync_ops;

static void set_up(unsigned int pages)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr), .size = FILE_PAGES * (dax_loff_t)DAX_PAGE_SIZE,
		.ops = &sync_ops, .private_data = &fx.map,
	};

	sync_ops = fx_ops;
	sync_ops.sync = map_sync;
	sync_ops.truncate = map_resize;
	memset(&fx, 0, sizeof(fx));
	fx_answer(DAX_IOMAP_HOLE, 0, 0);
	MUST(!dax_device_emulate_pmem(&fx.dev, (uint64_t)DEVICE_PAGES << DAX_PAGE_SHIFT));
	MUST(!dax_mapping_new(&fx.file, fx.dev, &attr));
	synced = fx_vma(0, FILE_PAGES, SYNC, pages);
	plain = fx_vma(0, FILE_PAGES, RW_SHARED, pages);
	nr_syncs = 0;
	sync_ret = 0;
	in_sync = NULL;
}

static void tear_down(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	check_tree_and_leaves(fx.file);
	dax_vma_put(plain);
	dax_vma_put(synced);
	fx_close();
}

static bool is_writable(struct dax_vma *vma, dax_pgoff_t pgoff)
{
	return vma_soft_leaf(vma, pgoff) & LEAF_WRITE;
}

static int store(struct dax_vma *vma, dax_pgoff_t pgoff, char value)
{
	return (int)dax_vma_write(vma, &value, 1, pgoff << DAX_PAGE_SHIFT, NULL);
}

static char *frame(dax_pgoff_t page)
{
	return pfn_to_kaddr(device_pfn(page));
}

/* ---- who may have one ---------------------------------------------------------------- */

static int try_map(struct dax_mapping *file, unsigned int flags)
{
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .flags = flags,
		.length = DAX_PAGE_SIZE,
	};
	struct dax_vma *vma = NULL;
	int ret = dax_vma_new(&vma, file, &attr);

	CHECK(!ret == !!vma);
	if (vma)
		dax_vma_put(vma);
	return ret;
}

static int try_device(struct dax_device *dev, unsigned int policy)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr), .size = DAX_PAGE_SIZE, .policy = policy,
	};
	struct dax_mapping *file;
	int ret;

	MUST(!dax_mapping_new(&file, dev, &attr));
	ret = try_map(file, SYNC);
	dax_mapping_put(file);
	dax_device_put(dev);
	return ret;
}

static void needs_shared_and_writable(void)
{
	set_up(DAX_PAGES_AUTO);
	EQ(try_map(fx.file, SYNC), 0);
	EQ(try_map(fx.file, DAX_VM_READ | DAX_VM_SHARED | DAX_VM_SYNC), -EINVAL);
	EQ(try_map(fx.file, RW_PRIVATE | DAX_VM_SYNC), -EINVAL);
	EQ(try_map(fx.file, SYNC & ~DAX_VM_READ), -EINVAL);
	tear_down();
}

static void needs_persistent_memory(void)
{
	struct dax_device *dev;
	const char *path = tmp_file("dev", 1 << 20, 0);

	MUST(!dax_device_memory(&dev, 1 << 20));
	EQ(try_device(dev, DAX_POLICY_ZERO_PAGE), -EOPNOTSUPP);
	CHECK(strstr(dax_errormsg(), "persistent memory"));
	CHECK(strstr(dax_errormsg(), "none"));
	MUST(!dax_device_open(&dev, path, 0, DAX_DEVICE_OVERWRITE));
	EQ(try_device(dev, DAX_POLICY_ZERO_PAGE), -EOPNOTSUPP);
	CHECK(strstr(dax_errormsg(), "fdatasync"));
	MUST(!dax_device_emulate_pmem(&dev, 1 << 20));
	EQ(try_device(dev, DAX_POLICY_ZERO_PAGE), 0);
}

static void not_in_two_steps(void)
{
	struct dax_device *dev;

	MUST(!dax_device_emulate_pmem(&dev, 1 << 20));
	EQ(try_device(dev, DAX_POLICY_PAGE_CACHE), -EOPNOTSUPP);
}

/* ---- when the block map is synced ------------------------------------------------------- */

static void clean_extent(void)
{
	set_up(DAX_PAGES_PTE);
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(store(synced, PAGE_NR, 1), 1);
	EQ(nr_syncs, 0);
	EQ(count(DAX_STAT_INSERT_PFN_MKWRITE), 0);
	tear_down();
}

static void load_of_a_dirty_extent(void)
{
	set_up(DAX_PAGES_PTE);
	fx_answer(DAX_IOMAP_MAPPED, 0, F_DIRTY);
	EQ(dax_vma_fault(synced, PAGE_NR, 0, NULL), NOPAGE);
	EQ(nr_syncs, 0);
	tear_down();
}

static void mapping_without_sync(void)
{
	set_up(DAX_PAGES_PTE);
	fx_answer(DAX_IOMAP_MAPPED, 0, F_DIRTY);
	EQ(store(plain, PAGE_NR, 1), 1);
	EQ(nr_syncs, 0);
	/* What another mapping may write already is a fault of its own here. */
	EQ(store(synced, PAGE_NR, 2), 1);
	EQ(nr_syncs, 1);
	tear_down();
}

static void block_map_without_sync(void)
{
	set_up(DAX_PAGES_PTE);
	sync_ops.sync = NULL;
	fx_answer(DAX_IOMAP_MAPPED, 0, F_DIRTY);
	EQ(store(synced, PAGE_NR, 1), 1);
	EQ(count(DAX_STAT_INSERT_PFN_MKWRITE), 0);
	tear_down();
}

/* In sync: the entry shows the block, no mapping does, no lock is held. */
static void nothing_is_writable(void)
{
	uint64_t seq = fx.file->layout_seq;
	char byte;

	EQ(word_at(PAGE_NR) & ~(dax_entry_t)DAX_PMD,
	   word(dax_radix_pfn(dax_to_slot(word_at(PAGE_NR))), 0));
	CHECK(!is_dirty(PAGE_NR));
	CHECK(!is_writable(synced, PAGE_NR));
	CHECK(!is_writable(plain, PAGE_NR));
	CHECK(vma_soft_leaf(plain, PAGE_NR) >> DAX_PAGE_SHIFT != DAX_ZERO_PFN);
	EQ(dax_mapping_pread(fx.file, &byte, 1, 0), 1);
	EQ(dax_mapping_truncate(fx.file, (FILE_PAGES + 1) * (dax_loff_t)DAX_PAGE_SIZE), 0);
	EQ(dax_mapping_truncate(fx.file, FILE_PAGES * (dax_loff_t)DAX_PAGE_SIZE), 0);
	fx.file->layout_seq = seq;	/* that was no change to the page */
}

static void check_dirty(unsigned int pages, unsigned int flags, int result)
{
	set_up(pages);
	fx_answer(DAX_IOMAP_MAPPED, 0, flags);
	in_sync = nothing_is_writable;
	EQ(dax_vma_fault(synced, PAGE_NR, 1, NULL), result);
	EQ(nr_syncs, 1);
	CHECK(is_writable(synced, PAGE_NR));
	CHECK(!is_writable(plain, PAGE_NR));
	CHECK(is_dirty(PAGE_NR));
	EQ(!!(vma_soft_leaf(synced, PAGE_NR) & LEAF_HUGE), pages == DAX_PAGES_PMD);
	EQ(count(DAX_STAT_INSERT_PFN_MKWRITE), 1);
	in_sync = NULL;
	EQ(store(synced, PAGE_NR, 'x'), 1);
	EQ(nr_syncs, 1);
	tear_down();
}

static void dirty_extent(void)
{
	check_dirty(DAX_PAGES_PTE, F_DIRTY, NOPAGE);
}

static void new_block(void)
{
	check_dirty(DAX_PAGES_PTE, F_NEW, NOPAGE | DAX_VM_FAULT_MAJOR);
}

static void dirty_pmd(void)
{
	check_dirty(DAX_PAGES_PMD, F_DIRTY, NOPAGE);
}

static void new_pmd(void)
{
	check_dirty(DAX_PAGES_PMD, F_NEW | F_DIRTY, NOPAGE | DAX_VM_FAULT_MAJOR);
}

/* Holes that were read give way before the block map is synced. */
static void over_zero_pages(void)
{
	set_up(DAX_PAGES_PTE);
	EQ(dax_vma_fault(synced, PAGE_NR, 0, NULL), NOPAGE);
	EQ(dax_vma_fault(plain, PAGE_NR, 0, NULL), NOPAGE);
	fx_answer(DAX_IOMAP_MAPPED, 0, F_NEW);
	in_sync = nothing_is_writable;
	EQ(store(synced, PAGE_NR, 'x'), 1);
	EQ(nr_syncs, 1);
	EQ(frame(PAGE_NR)[0], 'x');
	EQ(vma_soft_leaf(plain, PAGE_NR), 0);
	tear_down();
}

/* A read-only leaf of the block becomes writable. */
static void over_a_read_page(void)
{
	set_up(DAX_PAGES_PTE);
	fx_answer(DAX_IOMAP_MAPPED, 0, F_DIRTY);
	EQ(dax_vma_fault(synced, PAGE_NR, 0, NULL), NOPAGE);
	in_sync = nothing_is_writable;
	EQ(store(synced, PAGE_NR, 'x'), 1);
	EQ(nr_syncs, 1);
	CHECK(is_dirty(PAGE_NR));
	tear_down();
}

/* A 4 KiB leaf of a 2 MiB entry: the entry stays one. */
static void small_leaf_of_a_pmd_entry(void)
{
	set_up(DAX_PAGES_PTE);
	plant(BASE, device_pfn(0), DAX_PMD);
	fx_answer(DAX_IOMAP_MAPPED, 0, F_DIRTY);
	fx.map.answer.offset = BASE * (dax_loff_t)DAX_PAGE_SIZE;
	EQ(store(synced, PAGE_NR, 'x'), 1);
	EQ(nr_syncs, 1);
	EQ(word_at(PAGE_NR), word(device_pfn(0), DAX_PMD));
	CHECK(is_dirty(BASE));
	EQ(frame(PAGE_NR - BASE)[0], 'x');
	tear_down();
}

/* Every page of a loop. */
static void a_range(void)
{
	set_up(DAX_PAGES_PTE);
	fx_answer(DAX_IOMAP_MAPPED, 0, F_DIRTY);
	EQ(dax_vma_fault_range(synced, BASE, 10, 1, NULL, 0, NULL), 10);
	EQ(nr_syncs, 10);
	EQ(dax_vma_fault_range(synced, BASE, 10, 1, NULL, 0, NULL), 0);
	tear_down();
}

/* ---- when that fails ------------------------------------------------------------------------ */

static void sync_fails(void)
{
	struct dax_fault_info info;

	set_up(DAX_PAGES_PTE);
	fx_answer(DAX_IOMAP_MAPPED, 0, F_NEW);
	sync_ret = -ENOTSUP;
	EQ(dax_vma_fault(synced, PAGE_NR, 1, &info),
	   DAX_VM_FAULT_SIGBUS | DAX_VM_FAULT_MAJOR);
	EQ(info.error, -ENOTSUP);
	EQ(store(synced, PAGE_NR, 'x'), -ENOTSUP);
	EQ(nr_syncs, 2);
	EQ(count(DAX_STAT_FAULT_SIGBUS), 2);
	EQ(word_at(PAGE_NR), word(device_pfn(PAGE_NR), 0));
	CHECK(!is_dirty(PAGE_NR));
	EQ(vma_soft_leaf(synced, PAGE_NR), 0);
	EQ(frame(PAGE_NR)[0], 0);
	check_tree_and_leaves(fx.file);
	sync_ret = 0;
	EQ(store(synced, PAGE_NR, 'x'), 1);
	EQ(frame(PAGE_NR)[0], 'x');
	tear_down();
}

static void sync_fails_nonsense(void)
{
	set_up(DAX_PAGES_PTE);
	fx_answer(DAX_IOMAP_MAPPED, 0, F_DIRTY);
	sync_ret = 17;
	EQ(store(synced, PAGE_NR, 'x'), -EIO);
	tear_down();
}

static void block_on_another_medium(void)
{
	struct dax_device *other;

	MUST(!dax_device_memory(&other, 4 * DAX_PMD_SIZE));
	for (unsigned int pages = DAX_PAGES_AUTO; pages <= DAX_PAGES_PTE; pages++) {
		set_up(pages);
		fx_answer(DAX_IOMAP_MAPPED, 0, 0);
		fx.map.answer.dax_dev = other;
		EQ(store(synced, PAGE_NR, 'x'), -EOPNOTSUPP);
		EQ(store(plain, PAGE_NR, 'x'), 1);
		tear_down();
	}
	dax_device_put(other);
}

static void no_memory(void)
{
	for (unsigned int pages = DAX_PAGES_AUTO; pages <= DAX_PAGES_PMD; pages++) {
		OOM_LOOP(n) {
			int ret;

			set_up(pages);
			fx_answer(DAX_IOMAP_MAPPED, 0, F_NEW);
			oom_fail_nth(n);
			ret = store(synced, PAGE_NR, 'x');
			oom_clear();
			/* 2 MiB falls back to 4 KiB. */
			CHECK(ret == 1 || ret == -ENOMEM || ret == -EAGAIN);
			EQ(nr_syncs, ret == 1);
			EQ(is_writable(synced, PAGE_NR), ret == 1);
			check_tree_and_leaves(fx.file);
			EQ(store(synced, PAGE_NR, 'y'), 1);
			tear_down();
			if (!oom_fired())
				break;
		}
		CHECK(oom_rounds() > 0);
	}
}

/* ---- what happens meanwhile --------------------------------------------------------------------- */

static void once(void (*what)(void))
{
	if (nr_syncs == 1)
		what();
}

static void cut_to_nothing(void)
{
	EQ(dax_mapping_truncate(fx.file, 0), 0);
}

static void truncated(void)
{
	set_up(DAX_PAGES_PTE);
	fx_answer(DAX_IOMAP_MAPPED, 0, F_NEW);
	in_sync = cut_to_nothing;
	EQ(store(synced, PAGE_NR, 'x'), -EFAULT);
	EQ(nr_syncs, 1);
	EQ(entries(), 0);
	EQ(count(DAX_STAT_INSERT_PFN_MKWRITE_NO_ENTRY), 1);
	tear_down();
}

/* Gone and come back, at the same place: what was saved is not that. */
static void cut_and_written(void)
{
	EQ(dax_mapping_truncate(fx.file, 0), 0);
	EQ(dax_mapping_truncate(fx.file, FILE_PAGES * (dax_loff_t)DAX_PAGE_SIZE), 0);
	EQ(store(plain, PAGE_NR, 'p'), 1);
	EQ(word_at(PAGE_NR), word(device_pfn(PAGE_NR), 0));
}

static void cut_and_written_once(void)
{
	once(cut_and_written);
}

static void same_block_again(void)
{
	set_up(DAX_PAGES_PTE);
	fx_answer(DAX_IOMAP_MAPPED, 0, F_NEW);
	in_sync = cut_and_written_once;
	EQ(store(synced, PAGE_NR, 'x'), 1);
	EQ(nr_syncs, 2);
	EQ(count(DAX_STAT_INSERT_PFN_MKWRITE_NO_ENTRY), 1);
	EQ(count(DAX_STAT_INSERT_PFN_MKWRITE), 1);
	tear_down();
}

/* The entry is dropped and made again for another block, beside the fault. */
static void move_block(void)
{
	struct percpu_area *area;

	MUST(!mapping_lock_shared(fx.file, &area));
	EQ(invalidate_pages_range(fx.file, area, PAGE_NR, PAGE_NR, false, 0), 0);
	mapping_unlock_shared(fx.file, area);
	fx_answer(DAX_IOMAP_MAPPED, 5 << DAX_PAGE_SHIFT, F_DIRTY);
	EQ(dax_vma_fault(plain, PAGE_NR, 0, NULL), NOPAGE);
}

static void move_block_once(void)
{
	once(move_block);
}

static void other_block(void)
{
	set_up(DAX_PAGES_PTE);
	fx_answer(DAX_IOMAP_MAPPED, 0, F_NEW);
	in_sync = move_block_once;
	EQ(store(synced, PAGE_NR, 'x'), 1);
	EQ(nr_syncs, 2);
	EQ(count(DAX_STAT_INSERT_PFN_MKWRITE_NO_ENTRY), 1);
	EQ(vma_soft_leaf(synced, PAGE_NR) >> DAX_PAGE_SHIFT, device_pfn(PAGE_NR + 5));
	EQ(frame(PAGE_NR)[0], 0);
	EQ(frame(PAGE_NR + 5)[0], 'x');
	tear_down();
}

/* One fault() is one fault: what is to be repeated is repeated by it. */
static void fault_repeats(void)
{
	set_up(DAX_PAGES_PTE);
	fx_answer(DAX_IOMAP_MAPPED, 0, F_DIRTY);
	in_sync = cut_and_written_once;
	EQ(dax_vma_fault(synced, PAGE_NR, 1, NULL), NOPAGE);
	EQ(nr_syncs, 2);
	CHECK(is_writable(synced, PAGE_NR));
	tear_down();
}

static void store_x(void *arg)
{
	*(int *)arg = store(synced, PAGE_NR, 'x');
}

/* Two synchronous stores to one page: the second finds the leaf. */
static void twins(void)
{
	struct step step;
	int ret = 0;

	set_up(DAX_PAGES_PTE);
	dax_test.yield = step_yield;
	fx_answer(DAX_IOMAP_MAPPED, 0, F_DIRTY);
	step_start(&step, store_x, &ret, DAX_TEST_SYNC_FAULT);
	MUST(step_parked(&step));
	CHECK(!is_writable(synced, PAGE_NR));
	EQ(store(synced, PAGE_NR, 'y'), 1);
	EQ(frame(PAGE_NR)[0], 'y');
	step_go(&step, STEP_NOWHERE);
	step_join(&step);
	EQ(ret, 1);
	EQ(frame(PAGE_NR)[0], 'x');
	EQ(nr_syncs, 2);
	tear_down();
}

/* A writeback of the entry before its leaf comes: nothing to write, and the
 * store is found by the next. */
static void writeback_between(void)
{
	struct step step;
	int ret = 0;

	set_up(DAX_PAGES_PTE);
	dax_test.yield = step_yield;
	fx_answer(DAX_IOMAP_MAPPED, 0, F_DIRTY);
	step_start(&step, store_x, &ret, DAX_TEST_SYNC_FAULT);
	MUST(step_parked(&step));
	EQ(dax_mapping_writeback(fx.file, 0, UINT64_MAX), 0);
	step_go(&step, STEP_NOWHERE);
	step_join(&step);
	EQ(ret, 1);
	EQ(dax_mapping_writeback(fx.file, 0, UINT64_MAX), 1);
	CHECK(!is_writable(synced, PAGE_NR));
	/* Clean and read-only: a fault again, which asks the block map again. */
	EQ(store(synced, PAGE_NR, 'z'), 1);
	EQ(nr_syncs, 2);
	tear_down();
}

#define RUN(test) run(#test, test)

int main(void)
{
	struct dax_device *dev;

	if (dax_device_emulate_pmem(&dev, 1 << 20) == -EOPNOTSUPP)
		skip_all("the cache-line write-back of this CPU is not known");
	dax_device_put(dev);
	tmpdir_make();
	plan(25);
	RUN(needs_shared_and_writable);
	RUN(needs_persistent_memory);
	RUN(not_in_two_steps);
	RUN(clean_extent);
	RUN(load_of_a_dirty_extent);
	RUN(mapping_without_sync);
	RUN(block_map_without_sync);
	RUN(dirty_extent);
	RUN(new_block);
	RUN(dirty_pmd);
	RUN(new_pmd);
	RUN(over_zero_pages);
	RUN(over_a_read_page);
	RUN(small_leaf_of_a_pmd_entry);
	RUN(a_range);
	RUN(sync_fails);
	RUN(sync_fails_nonsense);
	RUN(block_on_another_medium);
	RUN(no_memory);
	RUN(truncated);
	RUN(same_block_again);
	RUN(other_block);
	RUN(fault_repeats);
	RUN(twins);
	RUN(writeback_between);
	return done();
}
