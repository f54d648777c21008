/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_regress_writeback.c -- stores lost by fsync, invalidation and writeback
 *
 * Faults the kernel had here.  A power failure follows each fsync: what the
 * medium does not have is lost.
 *
 *   huge_leaf_left_writable	B7: fsync left the 2 MiB leaf writable, so the
 *				next store did not tag the entry again
 *   invalidation_took_dirty	B8: a store through a mapping, then a write(2)
 *				elsewhere in the page dropped the dirty entry:
 *				fsync had nothing to flush
 *   invalidated_too_early	B9: write(2) invalidated, then allocated; a
 *				reader put the hole back in between
 *   entry_of_a_mapped_page	B10: dropping caches took the entry of a page
 *				that stayed mapped, writable
 *   rescan_from_the_start	B12: each batch searched from the start again
 *   one_page_at_a_time		B13, W5: a loop over index + 1 met a 2 MiB entry
 *				again and again
 *   second_mapping_inside	B22, W6: one mapping by 2 MiB, another maps one
 *				inner page: only the first was made read-only
 *   one_page_of_2_mib		B23, W6: of a 2 MiB entry one page was flushed
 *   zap_beside_mkclean		B25: a leaf was zapped while mkclean looked for
 *				it: writeback believed nobody could be storing.
 *				Here: A and B store-fault a clean huge leaf; B
 *				makes it writable and is inside the frame; A's
 *				block map fails, it falls back and zaps the leaf
 *   no_progress		B28: a block map that gives no byte made read
 *				and write loop for ever
 *   private_on_readonly	B32: a store to a private mapping of a read-only
 *				device asked for blocks
 *   empty_entries		W9: what failing faults leave behind
 */
#define _GNU_SOURCE
#include "invalidate.h"
#include "invariants.h"
#include "medium.h"
#include "mock_map.h"
#include "step.h"
#include "tmpdir.h"
#include "white_box.h"

enum { PAGES = 4 * PMD_PAGES };

static struct dax_vma *small, *huge, *other;

static void map_all(void)
{
	small = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	huge = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_AUTO);
	other = fx_vma(700, 1, RW_SHARED, DAX_PAGES_AUTO);
	medium_attach(fx.dev, false);
	dax_test = (struct dax_test_hooks){ .yield = step_yield, .no_spin = true };
}

static void set_up(void)
{
	fx_open_real(PAGES);
	map_all();
}

static void tear_down(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	check_tree_and_leaves(fx.file);
	medium_detach();
	dax_vma_put(other);
	dax_vma_put(huge);
	dax_vma_put(small);
	fx_close();
}

static uint64_t pos_of(dax_pgoff_t page)
{
	return page << DAX_PAGE_SHIFT;
}

static void poke_at(struct dax_vma *vma, uint64_t offset, char byte)
{
	EQ(dax_vma_write(vma, &byte, 1, offset, NULL), 1);
}

static int peek_at(struct dax_vma *vma, uint64_t offset)
{
	unsigned char byte = 0;

	return dax_vma_read(vma, &byte, 1, offset, NULL) == 1 ? byte : -1;
}

static void fsync_file(void)
{
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
}

/* ---- B7, B8 ------------------------------------------------------------------------ */

static void huge_leaf_left_writable(void)
{
	set_up();
	poke_at(huge, pos_of(600), 'a');
	CHECK(vma_soft_leaf(huge, 600) & LEAF_HUGE);
	fsync_file();
	CHECK(!(vma_soft_leaf(huge, 600) & (LEAF_WRITE | LEAF_DIRTY)));
	poke_at(huge, pos_of(601), 'b');
	CHECK(is_dirty(512));
	fsync_file();
	EQ(survives(fx.file, pos_of(600)), 'a');
	EQ(survives(fx.file, pos_of(601)), 'b');
	tear_down();
}

static void invalidation_took_dirty(void)
{
	set_up();
	poke_at(small, pos_of(3), 'a');
	EQ(dax_mapping_pwrite(fx.file, "b", 1, (dax_loff_t)pos_of(3) + 9), 1);
	poke_at(huge, pos_of(600), 'c');
	EQ(dax_mapping_pwrite(fx.file, "d", 1, (dax_loff_t)pos_of(700)), 1);
	CHECK(is_dirty(3) && is_dirty(512));
	fsync_file();
	EQ(survives(fx.file, pos_of(3)), 'a');
	EQ(survives(fx.file, pos_of(3) + 9), 'b');
	EQ(survives(fx.file, pos_of(600)), 'c');
	EQ(survives(fx.file, pos_of(700)), 'd');
	tear_down();
	fx_open(PAGES);		/* a block map that calls each block new */
	map_all();
	fx_answer(DAX_IOMAP_MAPPED, 0, DAX_IOMAP_F_NEW);
	poke_at(small, pos_of(3), 'a');
	EQ(dax_mapping_pwrite(fx.file, "b", 1, (dax_loff_t)pos_of(3) + 9), 1);
	CHECK(is_dirty(3));
	fsync_file();
	EQ(survives(fx.file, pos_of(3)), 'a');
	tear_down();
}

/* ---- B9 ----------------------------------------------------------------------------- */

static void read_hole(void *arg)
{
	(void)arg;
	EQ(peek_at(small, pos_of(3)), 0);
	EQ(peek_at(huge, pos_of(3)), 0);
}

/* The block map is asked by pwrite: a reader maps the hole, then it gets its
 * block. */
static void hole_comes_back(void)
{
	struct step reader;

	fx.map.on_begin = NULL;
	step_start(&reader, read_hole, NULL, STEP_NOWHERE);
	step_join(&reader);
	EQ(word_at(3), word(0, DAX_ZERO_PAGE));
	fx_answer(DAX_IOMAP_MAPPED, 0, DAX_IOMAP_F_NEW);
}

static void invalidated_too_early(void)
{
	fx_open(PAGES);
	map_all();
	read_hole(NULL);
	MUST(!mapping_lock_shared(fx.file, &fx.area));
	EQ(invalidate_pages_range(fx.file, fx.area, 0, PAGES, false, 0), 0);
	leave();
	fx.map.on_begin = hole_comes_back;
	fx.map.begins = fx.map.ends = 0;
	EQ(dax_mapping_pwrite(fx.file, "n", 1, (dax_loff_t)pos_of(3)), 1);
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	EQ(peek_at(small, pos_of(3)), 'n');
	EQ(peek_at(huge, pos_of(3)), 'n');
	fx.map.mismatch = false;	/* the reader asked in between */
	tear_down();
}

/* ---- B10 ---------------------------------------------------------------------------- */

static void drop_body(void *arg)
{
	struct percpu_area *area;

	MUST(!mapping_lock_shared(fx.file, &area));
	*(int *)arg = invalidate_pages_range(fx.file, area, 0, PAGES, false, 0);
	mapping_unlock_shared(fx.file, area);
}

static void load_body(void *arg)
{
	*(int *)arg = peek_at(small, pos_of(3));
}

static void entry_of_a_mapped_page(void)
{
	struct step drop, reader;
	int ret = 1, byte = 0;

	set_up();
	poke_at(small, pos_of(3), 'a');
	poke_at(huge, pos_of(3), 'a');
	poke_at(huge, pos_of(600), 'b');
	EQ(dax_mapping_writeback(fx.file, 0, pos_of(10)), 1);
	EQ(peek_at(small, pos_of(20)), 0);
	step_start(&drop, drop_body, &ret, DAX_TEST_INVALIDATE_LOCKED);
	MUST(step_parked(&drop));
	CHECK(word_at(3) && vma_soft_leaf(small, 3) && vma_soft_leaf(huge, 3));
	EQ(dax_vma_dontneed(other, 0, 0), 0);
	unmap_mapping_pages(fx.file, 3, 3, false);	/* as the drop will */
	step_start_asleep(&reader, load_body, &byte, STEP_NOWHERE);
	step_go(&drop, STEP_NOWHERE);
	step_join(&drop);
	step_join(&reader);
	EQ(ret, -EBUSY);	/* the dirty 2 MiB stays */
	EQ(byte, 'a');		/* and who waited found the block */
	CHECK(!word_at(20) && !vma_soft_leaf(small, 20));
	CHECK(is_dirty(512) && vma_soft_leaf(huge, 600) & LEAF_WRITE);
	check_invariants(fx.file);			/* I7, I8 */
	poke_at(small, pos_of(3), 'c');
	fsync_file();
	EQ(survives(fx.file, pos_of(3)), 'c');
	EQ(survives(fx.file, pos_of(600)), 'b');
	tear_down();
}

/* ---- B12, B13 --------------------------------------------------------------------------- */

/* The device is smaller than the file: its pages share frames. */
static int mock_wrapped(struct mock *mock, dax_loff_t pos, uint64_t length,
			unsigned int flags, struct dax_iomap *iomap)
{
	int ret = mock_linear(mock, pos, length, flags, iomap);

	iomap->addr = (uint64_t)pos % (1 << 20);
	return ret;
}

static void rescan(bool deferred)
{
	enum { NR = 100000 };
	struct mock mock = { .answer = mock_wrapped };
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .flags = RW_SHARED,
		.length = pos_of(NR), .pages = DAX_PAGES_PTE,
	};
	struct dax_mapping *file;
	struct dax_vma *vma;

	set_up();
	medium.ops.durable_at_fence = !deferred;
	file = mock_file(&mock, fx.dev, (dax_loff_t)pos_of(NR));
	MUST(!dax_vma_new(&vma, file, &attr));
	EQ(dax_vma_fault_range(vma, 0, NR, 1, NULL, 0, NULL), NR);
	EQ(dax_mapping_writeback(file, 0, UINT64_MAX), NR);
	EQ(percpu_sum(&file->percpu, DAX_STAT_WRITEBACK_VISIT), NR);
	EQ(percpu_sum(&file->percpu, DAX_STAT_WRITEBACK_ONE), NR);
	EQ(medium.flushes, NR);
	EQ(dax_mapping_writeback(file, 0, UINT64_MAX), 0);
	EQ(percpu_sum(&file->percpu, DAX_STAT_WRITEBACK_VISIT), NR);
	dax_vma_put(vma);
	dax_mapping_put(file);
	tear_down();
}

/* Also where entries stay dirty until the device is synced. */
static void rescan_from_the_start(void)
{
	rescan(false);
	rescan(true);
}

static void one_page_at_a_time(void)
{
	set_up();
	poke_at(huge, pos_of(600), 'b');
	poke_at(huge, pos_of(1100), 'c');
	EQ(peek_at(huge, pos_of(0)), 0);
	enter();
	EQ(invalidate_pages_range(fx.file, fx.area, 515, 516, false, 0), -EBUSY);
	EQ(invalidate_pages_range(fx.file, fx.area, 515, 1600, false, 0), -EBUSY);
	EQ(invalidate_pages_range(fx.file, fx.area, 0, UINT64_MAX, false, 0), -EBUSY);
	leave();
	CHECK(!word_at(0) && word_at(512) && word_at(1024));
	EQ(dax_mapping_writeback(fx.file, (dax_loff_t)pos_of(515), pos_of(1)), 1);
	EQ(dax_mapping_writeback(fx.file, (dax_loff_t)pos_of(515), pos_of(1)), 0);
	EQ(count(DAX_STAT_WRITEBACK_VISIT), 1);
	fsync_file();
	EQ(count(DAX_STAT_WRITEBACK_VISIT), 2);
	enter();
	EQ(invalidate_pages_range(fx.file, fx.area, 515, 1600, false, 0), 0);
	leave();
	EQ(entries(), 0);
	tear_down();
}

/* ---- B22, B23 ----------------------------------------------------------------------------- */

static void second_mapping_inside(void)
{
	set_up();
	poke_at(huge, pos_of(600), 'a');
	poke_at(other, 0, 'b');				/* page 700 */
	poke_at(small, pos_of(1023), 'c');
	CHECK(dax_is_pmd_entry(dax_to_slot(word_at(700))));
	CHECK(!(vma_soft_leaf(other, 700) & LEAF_HUGE));
	fsync_file();
	CHECK(!(vma_soft_leaf(other, 700) & (LEAF_WRITE | LEAF_DIRTY)));
	CHECK(!(vma_soft_leaf(small, 1023) & (LEAF_WRITE | LEAF_DIRTY)));
	EQ(survives(fx.file, pos_of(700)), 'b');
	poke_at(other, 0, 'd');
	CHECK(is_dirty(512));
	fsync_file();
	EQ(survives(fx.file, pos_of(700)), 'd');
	poke_at(small, pos_of(1023), 'e');
	fsync_file();
	EQ(survives(fx.file, pos_of(1023)), 'e');
	EQ(survives(fx.file, pos_of(600)), 'a');
	tear_down();
}

static void one_page_of_2_mib(void)
{
	set_up();
	poke_at(huge, pos_of(512), 'a');
	for (dax_pgoff_t page = 513; page < 1024; page++)
		poke_at(huge, pos_of(page) + 4095, 'a');
	fsync_file();
	EQ(medium.flushes, 1);
	EQ(medium.log[0].len, DAX_PMD_SIZE);
	for (dax_pgoff_t page = 513; page < 1024; page++)
		EQ(survives(fx.file, pos_of(page) + 4095), 'a');
	poke_at(small, pos_of(1023) + 4095, 'b');	/* by an inner page */
	fsync_file();
	EQ(medium.log[1].len, DAX_PMD_SIZE);
	EQ(medium.log[1].addr, medium.log[0].addr);
	EQ(survives(fx.file, pos_of(1023) + 4095), 'b');
	tear_down();
}

/* ---- B25 ---------------------------------------------------------------------------------- */

static void store_body(void *arg)
{
	char byte = 'n';

	*(int *)arg = (int)dax_vma_write(huge, &byte, 1, pos_of(600), NULL);
}

static void fsync_body(void *arg)
{
	*(int *)arg = dax_mapping_fsync(fx.file, NULL);
}

static void zap_beside_mkclean(void)
{
	struct step inside, fallback, sync;
	int a = 0, b = 0, s = 1;

	fx_open(PAGES);
	map_all();
	fx_answer(DAX_IOMAP_MAPPED, 0, 0);
	poke_at(huge, pos_of(600), 'o');
	CHECK(vma_soft_leaf(huge, 600) & LEAF_HUGE);
	fsync_file();
	medium_reset();
	step_start(&inside, store_body, &b, DAX_TEST_AFTER_GRAB);
	MUST(step_parked(&inside));
	step_start_asleep(&fallback, store_body, &a, DAX_TEST_AFTER_GRAB);
	step_go(&inside, DAX_TEST_STORE_INSIDE);
	MUST(step_parked(&inside));	/* the leaf is writable */
	CHECK(vma_soft_leaf(huge, 600) & LEAF_WRITE);
	MUST(step_parked(&fallback));
	fx.map.error = -EIO;
	step_go(&fallback, DAX_TEST_STORE_INSIDE);
	step_parked(&fallback);		/* there, or through */
	fx.map.error = 0;
	EQ(count(DAX_STAT_PMD_FAULT_FALLBACK), 1);
	step_start(&sync, fsync_body, &s, DAX_TEST_SYNCHRONIZE_WAIT);
	CHECK(step_parked(&sync));	/* it waits for who is inside */
	EQ(medium.flushes, 0);
	step_go(&sync, STEP_NOWHERE);
	step_go(&inside, STEP_NOWHERE);
	step_go(&fallback, STEP_NOWHERE);
	step_join(&inside);
	step_join(&fallback);
	step_join(&sync);
	EQ(b, 1);
	EQ(s, 0);
	EQ(medium_durable(pos_of(600)), 'n');
	tear_down();
}

/* ---- B28 ------------------------------------------------------------------------------------ */

/* Nothing from @pos on, in the ways there are to say so. */
static int no_bytes(struct mock *mock, dax_loff_t pos, uint64_t length,
		    unsigned int flags, struct dax_iomap *iomap)
{
	mock_linear(mock, pos, length, flags, iomap);
	switch (mock->result[1]) {
	case 0:
		iomap->length = 0;
		break;
	case 1:	/* up to @pos, which is not covered */
		iomap->offset = pos - 4096;
		iomap->length = 4096;
		break;
	default:	/* covers some bytes, then none */
		iomap->length = pos % 8192 ? 0 : 100;
	}
	return 0;
}

static void no_progress(void)
{
	char buf[8192] = "";

	set_up();
	for (int kind = 0; kind < 3; kind++) {
		struct mock mock = { .answer = no_bytes, .result = { 0, kind } };
		struct dax_mapping *file = mock_file(&mock, fx.dev, 1 << 20);
		int done = kind == 2 ? 100 : -EIO;

		EQ(dax_mapping_pread(file, buf, sizeof(buf), 8192), done);
		EQ(dax_mapping_pwrite(file, buf, sizeof(buf), 8192), done);
		EQ(dax_mapping_zero_range(file, 8192, sizeof(buf)), -EIO);
		CHECK(dax_mapping_punch_hole(file, 8192 + 10, 20) < 0);
		CHECK(mock.begins < 20);
		CHECK(mock_is_paired(&mock));
		dax_mapping_put(file);
	}
	tear_down();
}

/* ---- B32 ------------------------------------------------------------------------------------ */

static unsigned int asked_to_write;

static int note_writes(struct mock *mock, dax_loff_t pos, uint64_t length,
		       unsigned int flags, struct dax_iomap *iomap)
{
	asked_to_write += !!(flags & DAX_IOMAP_WRITE);
	if (pos >= 8 * 4096) {
		iomap->type = DAX_IOMAP_HOLE;
		iomap->offset = pos;
		iomap->length = length;
		return 0;
	}
	return mock_linear(mock, pos, length, flags, iomap);
}

static void private_on_readonly(void)
{
	struct mock mock = { .answer = note_writes };
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .flags = RW_PRIVATE, .length = 16 * 4096,
	};
	struct dax_device *dev;
	struct dax_mapping *file;
	struct dax_vma *vma;

	set_up();
	MUST(!dax_device_open(&dev, tmp_file("readonly", 16 * 4096, 'r'), 0, 0));
	file = mock_file(&mock, dev, 16 * 4096);
	MUST(!dax_vma_new(&vma, file, &attr));
	asked_to_write = 0;
	poke_at(vma, 5, 'c');
	poke_at(vma, 9 * 4096, 'h');	/* a hole */
	EQ(peek_at(vma, 5), 'c');
	EQ(peek_at(vma, 6), 'r');
	EQ(peek_at(vma, 9 * 4096), 'h');
	EQ(peek_at(vma, 9 * 4096 + 1), 0);
	EQ(asked_to_write, 0);
	EQ(dev->window[5], 'r');
	EQ(dax_mapping_fsync(file, NULL), 0);
	EQ(percpu_sum(&file->percpu, DAX_STAT_COW_FAULT), 2);
	CHECK(!radix_tree_tagged(&file->i_pages, DAX_PAGECACHE_TAG_DIRTY));
	attr.flags = RW_SHARED;
	EQ(dax_vma_new(&vma, file, &attr), -EROFS);
	dax_vma_put(vma);
	dax_mapping_put(file);
	dax_device_put(dev);
	tear_down();
}

/* ---- W9 -------------------------------------------------------------------------------------- */

static void empty_entries(void)
{
	char byte = 'x';

	fx_open(PAGES);
	map_all();
	fx.map.error = -EIO;
	for (dax_pgoff_t page = 0; page < 50; page++)
		EQ(dax_vma_write(small, &byte, 1, pos_of(page), NULL), -EIO);
	fx.map.error = 0;
	EQ(entries(), 50);	/* they hold nothing, are in nobody's way, */
	fsync_file();
	EQ(medium.flushes, 0);
	EQ(peek_at(small, pos_of(7)), 0);
	EQ(entries(), 50);
	enter();		/* and go with what takes clean entries */
	EQ(invalidate_pages_range(fx.file, fx.area, 0, PAGES, true, 0), 0);
	leave();
	EQ(entries(), 0);
	tear_down();
}

int main(void)
{
	tmpdir_make();
	plan(12);
	run("B7: a huge leaf is read-only after fsync", huge_leaf_left_writable);
	run("B8: invalidation leaves dirty entries", invalidation_took_dirty);
	run("B9: invalidation follows allocation", invalidated_too_early);
	run("B10: no mapped page without an entry", entry_of_a_mapped_page);
	run("B12: each of 100000 entries is visited once", rescan_from_the_start);
	run("B13, W5: loops step over 2 MiB entries", one_page_at_a_time);
	run("B22, W6: all mappings of all pages are protected", second_mapping_inside);
	run("B23, W6: 2 MiB are flushed whole", one_page_of_2_mib);
	run("B25: a zap beside mkclean hides no store", zap_beside_mkclean);
	run("B28: no progress is an error", no_progress);
	run("B32: a private store to a read-only device", private_on_readonly);
	run("W9: empty entries are harmless and go", empty_entries);
	return done();
}
