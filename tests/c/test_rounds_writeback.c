/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_rounds_writeback.c -- store, store, fsync, fsync, truncate or punch: one
 * operation each, then a look, 3000 rounds on one 4 KiB and one 2 MiB entry
 *
 * The rule: what was stored before an fsync began survives when it has
 * returned, whatever the others do.  After each round the invariants hold; in
 * every second one nothing more is done, so that what a round left dirty is the
 * next one's to save.
 */
#include "invariants.h"
#include "medium.h"
#include "rounds.h"
#include "white_box.h"

enum { PAGES = 4 * PMD_PAGES, ROUNDS = 3000 };

static struct dax_vma *small, *huge;
static dax_pgoff_t page[2];		/* of the two stores */
static bool pmd;
static _Atomic unsigned int stored[2];	/* round + 1 of the last store done */
static bool removed;			/* in this round: bytes may be gone */

static uint64_t pos_of(dax_pgoff_t index, unsigned int which)
{
	return (index << DAX_PAGE_SHIFT) + which * 64;
}

static unsigned char value(unsigned int round)
{
	return (unsigned char)(round % 255 + 1);
}

/* Does this round take something away, and the bytes that are stored too? */
static bool takes(unsigned int round)
{
	return round % 3 == 2;
}

static void store_one(unsigned int round, unsigned int which)
{
	unsigned char byte = value(round);

	rounds_delay(2 * round + which, 9);
	EQ(dax_vma_write(which ? small : huge, &byte, 1, pos_of(page[which], which),
			 NULL), 1);
	smp_store_release(&stored[which], round + 1);
}

static void store_first(unsigned int round)
{
	store_one(round, 0);
}

static void store_second(unsigned int round)
{
	store_one(round, 1);
}

static void fsync_one(unsigned int round)
{
	unsigned int before[2];

	rounds_delay(3 * round + 7, 11);
	for (int i = 0; i < 2; i++)
		before[i] = smp_load_acquire(&stored[i]);
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	if (removed)
		return;
	for (unsigned int i = 0; i < 2; i++)
		if (before[i] == round + 1)
			EQ(survives(fx.file, pos_of(page[i], i)), value(round));
}

/* 2 MiB: another page of the entry goes, it is split.  4 KiB: the page goes, or
 * what lies behind it. */
static void take_away(unsigned int round)
{
	if (!takes(round))
		return;
	rounds_delay(5 * round + 3, 11);
	if (pmd)
		EQ(dax_mapping_punch_hole(fx.file, (dax_loff_t)pos_of(800, 0),
					  10 * 4096), 0);
	else if (round & 1)
		EQ(dax_mapping_punch_hole(fx.file, (dax_loff_t)pos_of(3, 0), 4096), 0);
	else
		EQ(dax_mapping_truncate(fx.file, 10 * 4096), 0);
}

/* One entry of 2 MiB, and a mapping without tables, which would keep 2 MiB
 * leaves out. */
static void make_one_entry(void)
{
	if (huge)
		dax_vma_put(huge);
	huge = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_AUTO);
	EQ(dax_vma_write(huge, "", 1, pos_of(900, 0), NULL), 1);
	CHECK(dax_is_pmd_entry(dax_to_slot(word_at(600))));
}

static void look(unsigned int round)
{
	check_tree_and_leaves(fx.file);
	if (round & 1) {
		EQ(dax_mapping_fsync(fx.file, NULL), 0);
		CHECK(!radix_tree_tagged(&fx.file->i_pages, DAX_PAGECACHE_TAG_DIRTY));
		CHECK(!radix_tree_tagged(&fx.file->i_pages, DAX_PAGECACHE_TAG_TOWRITE));
		for (unsigned int i = 0; i < 2; i++) {
			unsigned char byte = 0;

			EQ(dax_mapping_pread(fx.file, &byte, 1,
					     (dax_loff_t)pos_of(page[i], i)), 1);
			CHECK(byte == value(round) || removed);
			EQ(survives(fx.file, pos_of(page[i], i)), byte);
		}
	}
	if (takes(round) && pmd) {
		EQ(dax_mapping_punch_hole(fx.file, (dax_loff_t)pos_of(512, 0),
					  DAX_PMD_SIZE), 0);
		make_one_entry();
	}
	if (dax_mapping_size(fx.file) != PAGES * 4096)
		EQ(dax_mapping_truncate(fx.file, PAGES * 4096), 0);
	removed = takes(round + 1) && !pmd;
}

static void all_rounds(bool two_mib, bool deferred)
{
	const rounds_fn actors[] = { store_first, store_second, fsync_one, fsync_one,
				     take_away };

	fx_open_real(PAGES);
	pmd = two_mib;
	page[0] = pmd ? 600 : 3;
	page[1] = pmd ? 1000 : 3;
	removed = false;
	stored[0] = stored[1] = 0;
	small = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	medium_attach(fx.dev, deferred);
	huge = NULL;
	if (pmd)
		make_one_entry();
	else
		huge = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	dax_test.yield = jitter;
	rounds_run(ROUNDS, actors, 5, look);
	dax_test.yield = NULL;
	check_invariants(fx.file);
	medium_detach();
	dax_vma_put(huge);
	dax_vma_put(small);
	fx_close();
}

static void small_entry(void)
{
	all_rounds(false, false);
}

static void small_deferred(void)
{
	all_rounds(false, true);
}

static void huge_entry(void)
{
	all_rounds(true, false);
}

static void huge_deferred(void)
{
	all_rounds(true, true);
}

int main(void)
{
	plan(4);
	run("4 KiB, durable when flushed", small_entry);
	run("4 KiB, durable when synced", small_deferred);
	run("2 MiB, durable when flushed", huge_entry);
	run("2 MiB, durable when synced", huge_deferred);
	return done();
}
