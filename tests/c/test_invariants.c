/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_invariants.c -- the checker sees each invariant that is broken by hand
 *
 * Each test makes a sound file, breaks one thing, and wants the checker to say
 * so.  The lines that begin with # are what it says.
 */
#include "invariants.h"

#include "white_box.h"

static struct dax_vma *vma;

/* Four pages, two of them stored to, and a device with bytes that are not 0. */
static void set_up(void)
{
	fx_open(4);
	memset(pfn_to_kaddr(device_pfn(0)), 7, DAX_PAGE_SIZE);
	vma = fx_vma(0, 4, RW_SHARED, DAX_PAGES_PTE);
}

static void tear_down(void)
{
	dax_vma_put(vma);
	fx_close();
}

static int red;		/* what the checker found, summed up */

/* Run a checker without counting what it finds as failures of the test. */
#define FINDS(call)							\
	do {								\
		int before = tap_bad;					\
		call;							\
		red = tap_bad - before;					\
		tap_bad = before;					\
	} while (0)

#define SEES(call)	do { FINDS(call); CHECK(red > 0); } while (0)
#define SOUND(call)	do { FINDS(call); EQ(red, 0); } while (0)

static void check_all(void)
{
	check_invariants(fx.file);
	check_leaf_bytes(fx.file);
	check_wait_table();
}

static void sound(void)
{
	set_up();
	SOUND(check_all());
	MUST(dax_vma_fault(vma, 1, false, NULL) & DAX_VM_FAULT_NOPAGE);
	SOUND(check_all());
	tear_down();
}

/* Fault in page 0 as what the block map says now. */
static void show(bool write)
{
	MUST(dax_vma_fault(vma, 0, write, NULL) & DAX_VM_FAULT_NOPAGE);
}

static void show_block(bool write)
{
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	show(write);
	SOUND(check_all());
}

static void two_kinds_at_once(void)
{
	set_up();
	plant(0, 0, DAX_ZERO_PAGE | DAX_EMPTY);
	SEES(check_all());						/* I1 */
	overwrite(0, word(0, DAX_EMPTY));
	SOUND(check_all());
	tear_down();
}

static void frame_of_a_hole(void)
{
	set_up();
	plant(0, 5, DAX_EMPTY);
	SEES(check_all());						/* I2 */
	tear_down();
}

static void dirty_hole(void)
{
	struct radix_tree_iter iter;

	set_up();
	plant(0, 0, DAX_EMPTY);
	iter = place(0);
	radix_tree_tag_set(&iter, DAX_PAGECACHE_TAG_DIRTY);
	SEES(check_all());						/* I2 */
	tear_down();
}

static void miscounted(void)
{
	set_up();
	plant(0, 0, DAX_EMPTY);
	overwrite(0, 0);
	SEES(check_all());						/* I3 */
	tear_down();
}

static void locked(void)
{
	set_up();
	plant(0, 0, DAX_EMPTY | DAX_LOCKED);
	SEES(check_all());						/* I6 */
	tear_down();
}

static void zero_leaf_of_a_block(void)
{
	set_up();
	show(false);
	overwrite(0, word(device_pfn(0), 0));
	SEES(check_tree_and_leaves(fx.file));				/* I7 */
	tear_down();
}

static void writable_but_clean(void)
{
	struct radix_tree_iter iter;

	set_up();
	show_block(true);
	iter = place(0);
	radix_tree_tag_clear(&iter, DAX_PAGECACHE_TAG_DIRTY);
	SEES(check_all());						/* I8 */
	tear_down();
}

static void fsync_that_did_nothing(void)
{
	struct radix_tree_iter iter;

	set_up();
	show_block(true);
	SOUND(check_after_fsync(fx.file, 1, 3));
	SEES(check_after_fsync(fx.file, 0, 3));				/* I9 */
	iter = place(0);
	radix_tree_tag_clear(&iter, DAX_PAGECACHE_TAG_DIRTY);
	SEES(check_after_fsync(fx.file, 0, 0));	/* the leaf is writable */
	tear_down();
}

static void another_block(void)
{
	set_up();
	show_block(false);
	fx_answer(DAX_IOMAP_MAPPED, DAX_PAGE_SIZE, 0);
	SEES(check_block_map(fx.file));					/* I10 */
	tear_down();
}

static void behind_the_end(void)
{
	set_up();
	plant(3, 0, DAX_EMPTY);
	fx.file->i_size = 3 * DAX_PAGE_SIZE;
	SEES(check_all());						/* I11 */
	fx.file->i_size = 4 * DAX_PAGE_SIZE;
	SOUND(check_all());
	tear_down();
}

/* A block that appeared below a zero leaf, as after a write that unmapped
 * nothing; only in the bytes, since entry and leaf agree. */
static void stale_zero_leaf(void)
{
	set_up();
	show(false);
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	SOUND(check_tree_and_leaves(fx.file));
	SEES(check_leaf_bytes(fx.file));				/* I12 */
	tear_down();
}

static void copy_not_counted(void)
{
	struct dax_vma *private;

	set_up();
	private = fx_vma(0, 4, RW_PRIVATE, DAX_PAGES_PTE);
	MUST(dax_vma_fault(private, 0, true, NULL) & DAX_VM_FAULT_DONE_COW);
	SOUND(check_all());
	fx.file->cow_bytes = 0;
	SEES(check_all());						/* I15 */
	fx.file->cow_bytes = DAX_PAGE_SIZE;
	dax_vma_put(private);
	tear_down();
}

static void towrite_alone(void)
{
	struct radix_tree_iter iter;

	set_up();
	show_block(false);
	iter = place(0);
	radix_tree_tag_set(&iter, DAX_PAGECACHE_TAG_TOWRITE);
	SEES(check_all());						/* I17 */
	tear_down();
}

/* For an entry that is gone: no entry says where to look. */
static void forgotten_waiter(void)
{
	struct wait_entry wait;

	set_up();
	prepare_to_wait_exclusive(&wait, (struct exceptional_entry_key){
		.owner = fx.file, .entry_start = 2 });
	SEES(check_tree_and_leaves(fx.file));				/* I18 */
	SEES(check_wait_table());
	finish_wait(&wait);
	SOUND(check_all());
	tear_down();
}

int main(void)
{
	plan(15);
	run("a sound file", sound);
	run("I1: zero and empty at once", two_kinds_at_once);
	run("I2: a hole with a frame", frame_of_a_hole);
	run("I2: a dirty hole", dirty_hole);
	run("I3: entries miscounted", miscounted);
	run("I6: a locked entry", locked);
	run("I7: a zero leaf of a data entry", zero_leaf_of_a_block);
	run("I8: a writable leaf of a clean entry", writable_but_clean);
	run("I9: fsync that did nothing", fsync_that_did_nothing);
	run("I10: an entry of another block", another_block);
	run("I11: an entry behind the end", behind_the_end);
	run("I12: a zero leaf where there is a block", stale_zero_leaf);
	run("I15: a copy that is not counted", copy_not_counted);
	run("I17: TOWRITE without DIRTY", towrite_alone);
	run("I18: a waiter for an entry that is gone", forgotten_waiter);
	return done();
}
