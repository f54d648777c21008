/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_writeback.c -- dirty entries, fsync, and what survives
 *
 * The table of writeback_one(): an entry that is gone, one that another
 * writeback cleaned, one that is written; sizes; order; errors; two and three
 * fsyncs at once; stores that come in between.  The medium says what would
 * survive a power failure.
 */
#include "invalidate.h"
#include "invariants.h"
#include "medium.h"
#include "mock_map.h"
#include "step.h"
#include "white_box.h"
#include "writeback.h"

enum { PAGES = 4 * PMD_PAGES };

static struct dax_vma *small, *huge;

static void set_up(bool deferred)
{
	fx_open_real(PAGES);
	small = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	huge = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_AUTO);
	medium_attach(fx.dev, deferred);
	dax_test = (struct dax_test_hooks){ .yield = step_yield, .no_spin = true };
}

static void tear_down(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	check_invariants(fx.file);
	medium_detach();
	dax_vma_put(huge);
	dax_vma_put(small);
	fx_close();
}

static void poke(struct dax_vma *vma, uint64_t pos, char byte)
{
	EQ(dax_vma_write(vma, &byte, 1, pos, NULL), 1);
}

static uint64_t pos_of(dax_pgoff_t page)
{
	return page << DAX_PAGE_SHIFT;
}

static bool has_towrite(dax_pgoff_t index)
{
	struct radix_tree_iter iter = place(index);

	return iter.entry && radix_tree_tag_get(&iter, DAX_PAGECACHE_TAG_TOWRITE);
}

static bool any_tag(void)
{
	return radix_tree_tagged(&fx.file->i_pages, DAX_PAGECACHE_TAG_DIRTY) ||
	       radix_tree_tagged(&fx.file->i_pages, DAX_PAGECACHE_TAG_TOWRITE);
}

static bool writable(struct dax_vma *vma, dax_pgoff_t page)
{
	return vma_soft_leaf(vma, page) & (LEAF_WRITE | LEAF_DIRTY);
}

/* ---- what fsync does -------------------- */

/* 4 row "fsync": tags fall, leaves are read-only and stay, the bytes survive;
 * the second has nothing to do. */
static void fsync_cleans(bool deferred)
{
	uint64_t leaf;

	set_up(deferred);
	poke(small, pos_of(3) + 7, 'a');
	poke(huge, pos_of(600), 'b');
	CHECK(is_dirty(3) && is_dirty(600));
	EQ(survives(fx.file, pos_of(3) + 7), 0);
	leaf = vma_soft_leaf(small, 3);
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	CHECK(!any_tag());
	CHECK(!writable(small, 3) && !writable(huge, 600));
	EQ(vma_soft_leaf(small, 3), leaf & ~(uint64_t)(LEAF_WRITE | LEAF_DIRTY));
	EQ(survives(fx.file, pos_of(3) + 7), 'a');
	EQ(survives(fx.file, pos_of(600)), 'b');
	EQ(medium.flushes, 2);
	EQ(medium.flushed_bytes, DAX_PAGE_SIZE + DAX_PMD_SIZE);
	EQ(count(DAX_STAT_WRITEBACK_ONE), 2);
	check_tree_exact(&fx.file->i_pages);
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	EQ(medium.flushes, 2);
	EQ(medium.syncs, 2);	/* always: pwrite leaves no tag */
	EQ(count(DAX_STAT_WRITEBACK_RANGE), 2);
	tear_down();
}

static void fsync_at_once(void)
{
	fsync_cleans(false);
}

static void fsync_deferred(void)
{
	fsync_cleans(true);
}

/* 4 row "re-dirty after fsync": the next store is a fault and tags again. */
static void redirty(void)
{
	set_up(true);
	for (int round = 'a'; round < 'd'; round++) {
		uint64_t faults = count(DAX_STAT_PTE_FAULT) + count(DAX_STAT_PMD_FAULT);

		poke(small, pos_of(3), (char)round);
		poke(huge, pos_of(600), (char)round);
		EQ(count(DAX_STAT_PTE_FAULT) + count(DAX_STAT_PMD_FAULT), faults + 2);
		CHECK(is_dirty(3) && is_dirty(600));
		poke(small, pos_of(3) + 1, (char)round);	/* no third */
		EQ(count(DAX_STAT_PTE_FAULT) + count(DAX_STAT_PMD_FAULT), faults + 2);
		EQ(dax_mapping_writeback(fx.file, 0, pos_of(PAGES)), 2);
		EQ(survives(fx.file, pos_of(3)), round);
		EQ(survives(fx.file, pos_of(600)), round);
	}
	tear_down();
}

/* Section 7: a read fault never dirties; nor does pwrite, which is durable by
 * the sync alone. */
static void what_is_not_dirty(void)
{
	char byte = 0;

	set_up(true);
	EQ(dax_mapping_pwrite(fx.file, "p", 1, (dax_loff_t)pos_of(9)), 1);
	EQ(dax_vma_read(small, &byte, 1, pos_of(9), NULL), 1);
	EQ(byte, 'p');
	EQ(dax_vma_read(small, &byte, 1, pos_of(10), NULL), 1);
	EQ(dax_vma_read(huge, &byte, 1, pos_of(1024), NULL), 1);
	CHECK(!any_tag());
	EQ(survives(fx.file, pos_of(9)), 0);
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	EQ(survives(fx.file, pos_of(9)), 'p');
	EQ(medium.flushes, 0);
	EQ(count(DAX_STAT_WRITEBACK_VISIT), 0);
	tear_down();
}

/* 1.16: whole entries, also of a range that begins or ends inside one; no
 * others. */
static void ranges(void)
{
	set_up(false);
	for (dax_pgoff_t page = 0; page < 10; page++)
		poke(small, pos_of(page), 'x');
	poke(huge, pos_of(600), 'h');
	poke(huge, pos_of(1500), 'h');
	EQ(dax_mapping_writeback(fx.file, (dax_loff_t)pos_of(2), 1), 1);
	EQ(medium.log[0].len, DAX_PAGE_SIZE);
	CHECK(is_dirty(1) && !is_dirty(2) && is_dirty(3));
	EQ(dax_mapping_writeback(fx.file, (dax_loff_t)pos_of(3), pos_of(3)), 3);
	CHECK(!is_dirty(3) && !is_dirty(5) && is_dirty(6));
	EQ(dax_mapping_writeback(fx.file, (dax_loff_t)pos_of(700), 4097), 1);
	EQ(medium.log[4].len, DAX_PMD_SIZE);
	EQ(medium.log[4].addr % DAX_PMD_SIZE, 0);
	CHECK(!is_dirty(512) && is_dirty(1024));
	EQ(dax_mapping_writeback(fx.file, (dax_loff_t)pos_of(9), pos_of(1016)), 2);
	EQ(dax_mapping_writeback(fx.file, 0, UINT64_MAX), 5);
	CHECK(!any_tag());
	EQ(dax_mapping_writeback(fx.file, INT64_MAX - 4095, UINT64_MAX), 0);
	tear_down();
}

static void ranges_refused(void)
{
	set_up(false);
	poke(small, 0, 'x');
	EQ(dax_mapping_writeback(fx.file, 1, 4096), -EINVAL);
	EQ(dax_mapping_writeback(fx.file, -4096, 4096), -EINVAL);
	EQ(dax_mapping_writeback(fx.file, 0, 0), 0);
	CHECK(is_dirty(0));
	EQ(count(DAX_STAT_WRITEBACK_RANGE), 0);
	tear_down();
}

/* ---- order: protect, flush, clear (section 7 row "order of writeback") --------------- */

static unsigned int checked;

static void check_protected(uint64_t addr, uint64_t len)
{
	dax_pfn_t pfn = fx.dev->pfn_base + (addr >> DAX_PAGE_SHIFT);
	dax_pgoff_t page = len == DAX_PMD_SIZE ? 512 : 3;

	EQ(dax_radix_pfn(dax_to_slot(word_at(page))), pfn);
	CHECK(dax_is_locked(dax_to_slot(word_at(page))));
	CHECK(is_dirty(page));
	CHECK(!writable(small, page) && !writable(huge, page));
	CHECK(!writable(small, page + (len >> DAX_PAGE_SHIFT) - 1));
	checked++;
}

static void check_still_tagged(void)
{
	CHECK(is_dirty(3) && is_dirty(512));
	CHECK(has_towrite(3) && has_towrite(512));
	CHECK(!dax_is_locked(dax_to_slot(word_at(3))));
	checked++;
}

static void order(void)
{
	set_up(true);
	poke(small, pos_of(3), 'a');
	poke(huge, pos_of(3), 'a');
	poke(huge, pos_of(600), 'b');
	poke(small, pos_of(512), 'b');
	poke(small, pos_of(1023), 'b');
	checked = 0;
	medium.on_flush = check_protected;
	medium.on_sync = check_still_tagged;
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	EQ(checked, 3);
	CHECK(!any_tag());
	tear_down();
}

/* ---- many entries -------------------- */

/* One fence for a run; a batch ends somewhere and the next begins there. */
static void batches(void)
{
	set_up(false);
	for (unsigned int nr = 250; nr < 520; nr += 1 + (nr > 260 && nr < 505) * 60) {
		for (dax_pgoff_t page = 0; page < nr; page++)
			poke(small, pos_of(3 * page), (char)nr);
		medium_reset();
		EQ(dax_mapping_writeback(fx.file, 0, UINT64_MAX), nr);
		EQ(medium.flushes, nr);
		CHECK(medium.fences <= nr / 128 + 3);
		CHECK(!any_tag());
		for (dax_pgoff_t page = 0; page < nr; page++)
			EQ(survives(fx.file, pos_of(3 * page)), (unsigned char)nr);
	}
	tear_down();
}

/* ---- two at once -------------------- */

struct call {
	struct step step;
	struct dax_vma *vma;
	uint64_t pos;
	char byte;
	int ret;
	int survived;	/* at the return of an fsync: the byte at pos */
};

static void store_body(void *arg)
{
	struct call *call = arg;

	call->ret = (int)dax_vma_write(call->vma, &call->byte, 1, call->pos, NULL);
}

static void fsync_body(void *arg)
{
	struct call *call = arg;

	call->ret = dax_mapping_fsync(fx.file, NULL);
	call->survived = survives(fx.file, call->pos);
}

static void start_fsync(struct call *call, uint64_t pos, int point)
{
	call->pos = pos;
	step_start(&call->step, fsync_body, call, point);
}

static void finish(struct call *call, int ret)
{
	step_go(&call->step, STEP_NOWHERE);
	step_join(&call->step);
	EQ(call->ret, ret);
}

/* A store saw its leaf before mkclean and has moved no byte: writeback comes to
 * wait for it and flushes nothing before it is done. */
static void store_inside(struct dax_vma **vma, dax_pgoff_t page)
{
	struct call writer = { .pos = pos_of(page), .byte = 'n' };
	struct call sync = { .ret = 1 };

	set_up(false);
	writer.vma = *vma;
	poke(writer.vma, pos_of(page), 'o');
	step_start(&writer.step, store_body, &writer, DAX_TEST_STORE_INSIDE);
	MUST(step_parked(&writer.step));
	start_fsync(&sync, pos_of(page), DAX_TEST_SYNCHRONIZE_WAIT);
	CHECK(step_parked(&sync.step));
	CHECK(!writable(writer.vma, page));
	EQ(medium.flushes, 0);
	step_go(&sync.step, DAX_TEST_WRITEBACK_FLUSHED);
	finish(&writer, 1);
	CHECK(step_parked(&sync.step));
	finish(&sync, 0);
	EQ(sync.survived, 'n');
	CHECK(!is_dirty(page));
	tear_down();
}

static void store_inside_pte(void)
{
	store_inside(&small, 3);
}

static void store_inside_pmd(void)
{
	store_inside(&huge, 700);
}

/* A store that begins after mkclean is a fault that waits for the entry, and
 * tags it again. */
static void store_waits(void)
{
	struct call writer = { .byte = 'n', .pos = pos_of(3) };
	struct call sync = { .ret = 1 };

	set_up(false);
	writer.vma = small;
	poke(small, pos_of(3), 'o');
	start_fsync(&sync, pos_of(3), DAX_TEST_WRITEBACK_PROTECTED);
	MUST(step_parked(&sync.step));
	step_start_asleep(&writer.step, store_body, &writer, DAX_TEST_AFTER_GRAB);
	step_go(&sync.step, DAX_TEST_WRITEBACK_SYNC);
	MUST(step_parked(&sync.step));
	EQ(survives(fx.file, pos_of(3)), 'o');
	CHECK(step_parked(&writer.step));
	finish(&writer, 1);
	finish(&sync, 0);
	CHECK(is_dirty(3) && writable(small, 3));
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	EQ(survives(fx.file, pos_of(3)), 'n');
	tear_down();
}

/* Re-dirtied between flush and the fall of the tags: it stays dirty. */
static void store_before_sync(struct dax_vma **vma, dax_pgoff_t page)
{
	struct call sync = { .ret = 1 };

	set_up(true);
	poke(*vma, pos_of(page), 'o');
	poke(small, pos_of(5), 'c');
	start_fsync(&sync, pos_of(page), DAX_TEST_WRITEBACK_SYNC);
	MUST(step_parked(&sync.step));
	CHECK(has_towrite(page) && has_towrite(5));
	poke(*vma, pos_of(page), 'n');
	CHECK(is_dirty(page) && !has_towrite(page));
	finish(&sync, 0);
	EQ(sync.survived, 'o');
	CHECK(is_dirty(page) && !is_dirty(5) && !has_towrite(5));
	EQ(dax_mapping_writeback(fx.file, 0, UINT64_MAX), 1);
	EQ(survives(fx.file, pos_of(page)), 'n');
	tear_down();
}

static void redirtied_pte(void)
{
	store_before_sync(&small, 3);
}

static void redirtied_pmd(void)
{
	store_before_sync(&huge, 700);
}

/* A store has the entry's lock and has not tagged yet when writeback comes to
 * take the tags: it waits, and finds TOWRITE gone. */
static void store_beside_finish(void)
{
	struct call writer = { .byte = 'n', .pos = pos_of(3) };
	struct call sync = { .ret = 1 };

	set_up(true);
	writer.vma = small;
	poke(small, pos_of(3), 'o');
	start_fsync(&sync, pos_of(3), DAX_TEST_WRITEBACK_SYNC);
	MUST(step_parked(&sync.step));
	step_start(&writer.step, store_body, &writer, DAX_TEST_AFTER_GRAB);
	MUST(step_parked(&writer.step));
	CHECK(has_towrite(3));
	step_go(&sync.step, DAX_TEST_BEFORE_SLEEP);
	MUST(step_parked(&sync.step));
	step_go(&sync.step, STEP_NOWHERE);
	finish(&writer, 1);
	finish(&sync, 0);
	CHECK(is_dirty(3) && !has_towrite(3) && writable(small, 3));
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	EQ(survives(fx.file, pos_of(3)), 'n');
	tear_down();
}

/* Give others every chance to come to an end that they must not come to. */
static void let_run(void)
{
	for (int i = 0; i < 2000; i++)
		sched_yield();
}

/* 4 row "concurrent fsync", section 7 "fsync can return too early": the second
 * and the third do not return before what was dirty when they began has been
 * flushed, wherever the first one stands. */
static void three_fsyncs(bool deferred)
{
	const int points[] = { DAX_TEST_WRITEBACK_LOCKED, DAX_TEST_WRITEBACK_PROTECTED,
			       DAX_TEST_WRITEBACK_FLUSHED, DAX_TEST_BEFORE_UNLOCK,
			       DAX_TEST_WRITEBACK_SYNC };

	for (unsigned int i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		struct call first = { .ret = 1 }, second = { .ret = 1 }, third = { .ret = 1 };

		set_up(deferred);
		poke(small, pos_of(3), 's');
		start_fsync(&first, pos_of(3), points[i]);
		MUST(step_parked(&first.step));
		start_fsync(&second, pos_of(3), STEP_NOWHERE);
		start_fsync(&third, pos_of(3), STEP_NOWHERE);
		let_run();
		finish(&first, 0);
		finish(&second, 0);
		finish(&third, 0);
		EQ(first.survived, 's');
		EQ(second.survived, 's');
		EQ(third.survived, 's');
		EQ(medium.flushes, 1);
		tear_down();
	}
}

static void three_at_once(void)
{
	three_fsyncs(false);
}

static void three_deferred(void)
{
	three_fsyncs(true);
}

/* Who waits holds no other entry: a fault has page 5, writeback has cleaned and
 * released 0 to 4 when it sleeps for it. */
static void waits_holding_nothing(void)
{
	struct call fault = { .byte = 'f', .pos = pos_of(5) }, sync = { .ret = 1 };

	set_up(false);
	fault.vma = huge;
	for (dax_pgoff_t page = 0; page < 9; page++)
		poke(small, pos_of(page), 'x');
	step_start(&fault.step, store_body, &fault, DAX_TEST_AFTER_GRAB);
	MUST(step_parked(&fault.step));
	start_fsync(&sync, pos_of(8), DAX_TEST_BEFORE_SLEEP);
	MUST(step_parked(&sync.step));
	for (dax_pgoff_t page = 0; page < 9; page++) {
		EQ(dax_is_locked(dax_to_slot(word_at(page))), page == 5);
		EQ(is_dirty(page), page >= 5);
	}
	step_go(&sync.step, STEP_NOWHERE);
	finish(&fault, 1);
	finish(&sync, 0);
	EQ(sync.survived, 'x');
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	EQ(survives(fx.file, pos_of(5)), 'f');
	CHECK(!any_tag());
	tear_down();
}

/* ---- writers that never stop -------------------- */

static _Atomic bool stop;

static void *keep_dirtying(void *arg)
{
	uint64_t random = 88172645463325252u + (uint64_t)(uintptr_t)arg;

	while (!READ_ONCE(stop)) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		poke(small, pos_of(random >> 33 & 255), 'w');
	}
	return NULL;
}

/* Each entry is looked at a bounded number of times, however fast it becomes
 * dirty again. */
static void ends_under_writers(void)
{
	pthread_t writers[2];

	set_up(false);
	dax_test = (struct dax_test_hooks){ 0 };
	stop = false;
	for (dax_pgoff_t page = 0; page < 256; page++)
		poke(small, pos_of(page), 'x');
	for (uintptr_t i = 0; i < 2; i++)
		MUST(!pthread_create(&writers[i], NULL, keep_dirtying, (void *)i));
	for (int i = 0; i < 100; i++) {
		uint64_t visits = count(DAX_STAT_WRITEBACK_VISIT);

		EQ(dax_mapping_fsync(fx.file, NULL), 0);
		CHECK(count(DAX_STAT_WRITEBACK_VISIT) - visits <= 256);
	}
	stop = true;
	for (int i = 0; i < 2; i++)
		MUST(!pthread_join(writers[i], NULL));
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	CHECK(!any_tag());
	tear_down();
}

/* A file that grows ahead of an fsync does not keep it: what is behind the end
 * that the file had is left to the next. */
static void ends_though_the_file_grows(void)
{
	struct dax_vma *vma;
	struct call call;
	dax_loff_t size = PAGES * DAX_PAGE_SIZE;
	int parked = 0;

	set_up(false);
	vma = fx_vma(0, 2 * PAGES, RW_SHARED, DAX_PAGES_PTE);
	poke(vma, (uint64_t)size - 1, 'a');
	start_fsync(&call, 0, DAX_TEST_WRITEBACK_LOCKED);
	while (parked < 8 && step_parked(&call.step)) {
		parked++;
		EQ(dax_mapping_pwrite(fx.file, "x", 1, size), 1);
		poke(vma, (uint64_t)size, 'b');
		size += DAX_PAGE_SIZE;
		step_go(&call.step, DAX_TEST_WRITEBACK_LOCKED);
	}
	EQ(parked, 1);
	finish(&call, 0);
	CHECK(!is_dirty(PAGES - 1) && is_dirty(PAGES));
	dax_vma_put(vma);
	tear_down();
}

static struct call during_truncate;

static void fsync_mock(void *mapping)
{
	during_truncate.ret = dax_mapping_fsync(mapping, NULL);
}

/* From the truncate of the block map, which fails. */
static void fsync_begins(struct mock *mock)
{
	mock->inside = NULL;
	step_start(&during_truncate.step, fsync_mock, mock->mapping, DAX_TEST_RWSEM_READ);
	MUST(step_parked(&during_truncate.step));
	step_go(&during_truncate.step, STEP_NOWHERE);
}

/* The end that a truncate was to give the file, and did not, is no end. */
static void truncate_fails_meanwhile(void)
{
	struct mock mock = { .truncate_ret = -EIO };
	struct dax_mapping *file;
	struct dax_vma *vma;

	set_up(false);
	file = mock_file(&mock, fx.dev, 8 * DAX_PAGE_SIZE);
	MUST(!dax_vma_new(&vma, file, &(struct dax_vma_attr){
		.struct_size = sizeof(struct dax_vma_attr), .flags = RW_SHARED,
		.length = 8 * DAX_PAGE_SIZE, .pages = DAX_PAGES_PTE }));
	poke(vma, pos_of(7), 'd');
	mock.inside = fsync_begins;
	EQ(dax_mapping_truncate(file, 0), -EIO);
	step_join(&during_truncate.step);
	EQ(during_truncate.ret, 0);
	EQ(medium_durable(pos_of(7)), 'd');
	dax_vma_put(vma);
	dax_mapping_put(file);
	tear_down();
}

/* ---- truncate and punch between flush and sync -------------------- */

static void gone_before_sync(void)
{
	struct call sync = { .ret = 1 };

	set_up(true);
	poke(small, pos_of(3), 'a');
	poke(huge, pos_of(600), 'b');
	poke(huge, pos_of(1100), 'c');
	start_fsync(&sync, 0, DAX_TEST_WRITEBACK_SYNC);
	MUST(step_parked(&sync.step));
	EQ(dax_mapping_punch_hole(fx.file, 0, pos_of(10)), 0);
	EQ(dax_mapping_truncate(fx.file, (dax_loff_t)pos_of(1024)), 0);
	EQ(dax_mapping_punch_hole(fx.file, (dax_loff_t)pos_of(700), pos_of(10)), 0);
	CHECK(!word_at(3) && !word_at(1024) && !word_at(700));
	CHECK(is_dirty(600) && has_towrite(600) && has_towrite(1023));
	finish(&sync, 0);
	CHECK(!any_tag());
	EQ(survives(fx.file, pos_of(600)), 'b');
	EQ(dax_mapping_truncate(fx.file, (dax_loff_t)pos_of(PAGES)), 0);
	tear_down();
}

/* What is left of a 2 MiB entry lies outside the range asked for, too. */
static void writeback_middle(void *arg)
{
	struct call *call = arg;

	call->ret = (int)dax_mapping_writeback(fx.file, (dax_loff_t)pos_of(700),
					       pos_of(100));
}

static void split_before_sync(void)
{
	struct call sync = { .ret = 1 };

	set_up(true);
	poke(huge, pos_of(600), 'b');
	step_start(&sync.step, writeback_middle, &sync, DAX_TEST_WRITEBACK_SYNC);
	MUST(step_parked(&sync.step));
	EQ(dax_mapping_punch_hole(fx.file, (dax_loff_t)pos_of(710), pos_of(10)), 0);
	CHECK(has_towrite(513) && has_towrite(1023));
	finish(&sync, 1);
	CHECK(!has_towrite(513) && !has_towrite(705) && !has_towrite(1023));
	CHECK(!is_dirty(513) && !is_dirty(1023));
	CHECK(!any_tag());
	tear_down();
}

/* Section 7 row "zero-range into a dirty 2 MiB entry": what survives is still
 * dirty, and the zeroes survive too. */
static void zero_inside_pmd(bool deferred)
{
	set_up(deferred);
	for (dax_pgoff_t page = 512; page < 1024; page++)
		poke(huge, pos_of(page), 'h');
	EQ(dax_mapping_zero_range(fx.file, (dax_loff_t)pos_of(600), pos_of(10)), 0);
	CHECK(is_dirty(512) && writable(huge, 512));
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	for (dax_pgoff_t page = 512; page < 1024; page++)
		EQ(survives(fx.file, pos_of(page)), page >= 600 && page < 610 ? 0 : 'h');
	CHECK(!any_tag());
	tear_down();
}

static void zero_inside(void)
{
	zero_inside_pmd(false);
	zero_inside_pmd(true);
}

/* Section 7 row "truncate into a dirty 2 MiB entry". */
static void truncate_inside(void)
{
	set_up(true);
	for (dax_pgoff_t page = 512; page < 1024; page++)
		poke(huge, pos_of(page), 'h');
	EQ(dax_mapping_truncate(fx.file, (dax_loff_t)pos_of(700)), 0);
	EQ(dax_mapping_writeback(fx.file, 0, UINT64_MAX), 700 - 512);
	for (dax_pgoff_t page = 512; page < 700; page++)
		EQ(survives(fx.file, pos_of(page)), 'h');
	EQ(dax_mapping_truncate(fx.file, (dax_loff_t)pos_of(PAGES)), 0);
	tear_down();
}

/* ---- blocks that move -------------------- */

static bool page_3_moved;

static int page_3_moves(struct mock *mock, dax_loff_t pos, uint64_t length,
			unsigned int flags, struct dax_iomap *iomap)
{
	mock_linear(mock, pos, length, flags, iomap);
	if (!page_3_moved)
		return 0;
	if (pos >> DAX_PAGE_SHIFT == 3)
		iomap->addr = 5 * DAX_PMD_SIZE;
	if (pos >> DAX_PAGE_SHIFT == 3 || (pos == 0 && length > DAX_PAGE_SIZE))
		iomap->length = DAX_PAGE_SIZE;
	return 0;
}

/* A block map takes one page of a dirty 2 MiB entry elsewhere: what was stored
 * to the other pages is still to be made durable. */
static void one_block_moves(bool deferred, bool by_pwrite)
{
	struct mock mock = { .answer = page_3_moves };
	struct dax_vma *vma, *pages;
	struct dax_mapping *file;
	char byte = 'p';

	set_up(deferred);
	page_3_moved = false;
	file = mock_file(&mock, fx.dev, 2 * DAX_PMD_SIZE);
	MUST(!dax_vma_new(&vma, file, &(struct dax_vma_attr){
		.struct_size = sizeof(struct dax_vma_attr), .length = DAX_PMD_SIZE,
		.flags = RW_SHARED }));
	MUST(!dax_vma_new(&pages, file, &(struct dax_vma_attr){
		.struct_size = sizeof(struct dax_vma_attr), .length = DAX_PMD_SIZE,
		.flags = RW_SHARED, .pages = DAX_PAGES_PTE }));
	poke(vma, pos_of(7), 'd');
	page_3_moved = true;
	if (by_pwrite)
		EQ(dax_mapping_pwrite(file, &byte, 1, pos_of(3)), 1);
	else
		poke(pages, pos_of(3), 'p');
	EQ(dax_mapping_fsync(file, NULL), 0);
	EQ(medium_durable(pos_of(7)), 'd');
	EQ(medium_durable(5 * DAX_PMD_SIZE), 'p');
	CHECK(mock_is_paired(&mock));
	dax_vma_put(pages);
	dax_vma_put(vma);
	dax_mapping_put(file);
	tear_down();
}

static void blocks_move(void)
{
	one_block_moves(false, false);
	one_block_moves(false, true);
	one_block_moves(true, false);
	one_block_moves(true, true);
}

/* ---- failures -------------------- */

/* 4 row "writeback error": DIRTY stays, TOWRITE goes, each cursor is told once,
 * the retry flushes again and succeeds. */
static void sync_fails(void)
{
	uint32_t a, b;

	set_up(true);
	a = b = dax_mapping_wb_err(fx.file);
	poke(small, pos_of(3), 'a');
	poke(huge, pos_of(600), 'b');
	medium.sync_error = -EIO;
	EQ(dax_mapping_fsync(fx.file, &a), -EIO);
	CHECK(is_dirty(3) && is_dirty(512));
	CHECK(!radix_tree_tagged(&fx.file->i_pages, DAX_PAGECACHE_TAG_TOWRITE));
	CHECK(!writable(small, 3));
	EQ(medium.flushes, 2);
	EQ(survives(fx.file, pos_of(3)), 0);
	medium.sync_error = -ENOSPC;
	EQ(dax_mapping_writeback(fx.file, 0, UINT64_MAX), -ENOSPC);
	EQ(medium.flushes, 4);
	medium.sync_error = 0;
	EQ(dax_mapping_fsync(fx.file, &b), -ENOSPC);	/* the last one */
	CHECK(strstr(dax_errormsg(), "earlier writeback"));
	EQ(medium.flushes, 6);
	EQ(survives(fx.file, pos_of(3)), 'a');
	EQ(survives(fx.file, pos_of(600)), 'b');
	CHECK(!any_tag());
	EQ(dax_mapping_fsync(fx.file, &b), 0);
	EQ(dax_mapping_fsync(fx.file, &a), -ENOSPC);	/* not told of that yet */
	EQ(dax_mapping_fsync(fx.file, &a), 0);
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	tear_down();
}

/* A cursor taken after the failure knows of it; the same error again is
 * another failure. */
static void cursors(void)
{
	uint32_t a, b;

	set_up(true);
	a = dax_mapping_wb_err(fx.file);
	medium.sync_error = -EIO;
	EQ(dax_mapping_fsync(fx.file, NULL), -EIO);
	b = dax_mapping_wb_err(fx.file);
	EQ(dax_mapping_fsync(fx.file, &b), -EIO);	/* its own */
	medium.sync_error = 0;
	EQ(dax_mapping_fsync(fx.file, &b), 0);
	EQ(dax_mapping_fsync(fx.file, &a), -EIO);
	EQ(dax_mapping_fsync(fx.file, &a), 0);
	tear_down();
}

/* An fsync that is refused has told nobody of what failed before. */
static void refused_keeps_cursor(void)
{
	struct dax_entry_cookie *cookie;
	uint32_t since;

	set_up(true);
	since = dax_mapping_wb_err(fx.file);
	medium.sync_error = -EIO;
	EQ(dax_mapping_fsync(fx.file, NULL), -EIO);
	medium.sync_error = 0;
	MUST(!dax_lock_mapping_entry(fx.file, 9, 0, NULL, &cookie));
	EQ(dax_mapping_fsync(fx.file, &since), -EDEADLK);
	MUST(!dax_unlock_mapping_entry(cookie));
	EQ(dax_mapping_fsync(fx.file, &since), -EIO);
	EQ(dax_mapping_fsync(fx.file, &since), 0);
	tear_down();
}

/* The device dies: what is dirty stays so. */
static void device_dies(void)
{
	set_up(false);
	EQ(dax_device_kill(fx.dev), 0);
	EQ(dax_mapping_fsync(fx.file, NULL), -ENXIO);	/* nothing to do, even so */
	EQ(dax_mapping_writeback(fx.file, 0, 4096), -ENXIO);
	fx.dev->alive = true;
	poke(small, pos_of(3), 'a');
	EQ(dax_device_kill(fx.dev), 0);
	EQ(dax_mapping_fsync(fx.file, NULL), -ENXIO);
	CHECK(is_dirty(3));
	EQ(medium.flushes, 0);
	CHECK(!dax_is_locked(dax_to_slot(word_at(3))));
	fx.dev->alive = true;
	tear_down();
}

/* ---- the block map -------------------- */

static int map_sync_ret;
static unsigned int map_syncs;

static int map_sync(struct dax_mapping *mapping, void *private_data)
{
	(void)mapping;
	(void)private_data;
	EQ(medium.syncs, 1 + map_syncs);	/* after the bytes */
	map_syncs++;
	return map_sync_ret;
}

static void syncs_block_map(void)
{
	struct dax_iomap_ops ops = mock_ops;
	struct mock mock = { .answer = NULL };
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr), .size = 1 << 20, .ops = &ops,
		.private_data = &mock,
	};
	struct dax_mapping *file;
	uint32_t since;

	set_up(true);
	ops.sync = map_sync;
	map_syncs = 0;
	map_sync_ret = 0;
	MUST(!dax_mapping_new(&file, fx.dev, &attr));
	since = dax_mapping_wb_err(file);
	EQ(dax_mapping_fsync(file, &since), 0);
	EQ(map_syncs, 1);
	map_sync_ret = -EIO;
	EQ(dax_mapping_fsync(file, NULL), -EIO);
	map_sync_ret = 5;
	EQ(dax_mapping_fsync(file, NULL), -EIO);
	map_sync_ret = 0;
	EQ(dax_mapping_fsync(file, &since), -EIO);
	EQ(dax_mapping_fsync(file, &since), 0);
	map_sync_ret = -4096;		/* no errno */
	EQ(dax_mapping_fsync(file, NULL), -EIO);
	map_sync_ret = 0;
	EQ(dax_mapping_fsync(file, &since), -EIO);
	EQ(map_syncs, 7);
	medium.sync_error = -EIO;
	EQ(dax_mapping_fsync(file, NULL), -EIO);
	EQ(map_syncs, 7);	/* not asked when the bytes failed */
	dax_mapping_put(file);
	tear_down();
}

static void call_writeback(struct mock *mock)
{
	mock->result[0] = (int)dax_mapping_writeback(mock->mapping, 0, 4096);
	mock->result[1] = dax_mapping_fsync(mock->mapping, NULL);
}

static void refused_inside(void)
{
	struct mock mock = { .inside = call_writeback };
	struct dax_mapping *file;
	char byte;

	set_up(false);
	file = mock_file(&mock, fx.dev, 1 << 20);
	EQ(dax_mapping_pread(file, &byte, 1, 0), 1);
	EQ(mock.result[0], -EDEADLK);
	EQ(mock.result[1], -EDEADLK);
	mock.result[0] = mock.result[1] = 0;
	EQ(dax_mapping_truncate(file, 1 << 19), 0);
	EQ(mock.result[0], -EDEADLK);
	EQ(mock.result[1], -EDEADLK);
	mock.inside = NULL;
	EQ(dax_mapping_fsync(file, NULL), 0);
	dax_mapping_put(file);
	tear_down();
}

/* ---- more than one device -------------------- */

static struct dax_device *second_dev;
static unsigned int second_syncs, second_flushes;

static int on_two_devices(struct mock *mock, dax_loff_t pos, uint64_t length,
			  unsigned int flags, struct dax_iomap *iomap)
{
	int ret = mock_linear(mock, pos, length, flags, iomap);

	if (pos / 4096 % 2)
		iomap->dax_dev = second_dev;
	iomap->length = 4096 - (uint64_t)pos % 4096;
	return ret;
}

static int second_sync(struct dax_device *dev)
{
	CHECK(dev == second_dev);
	second_syncs++;
	return second_syncs == 1 ? -EIO : 0;
}

static int second_flush(struct dax_device *dev, const void *addr, size_t n)
{
	CHECK(dev == second_dev && n == 4096);
	(void)addr;
	second_flushes++;
	return 0;
}

static void two_devices(void)
{
	struct persist_ops ops = persist_file;
	struct mock mock = { .answer = on_two_devices };
	struct dax_mapping *file;
	struct dax_vma *vma;
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .flags = RW_SHARED, .length = 32 * 4096,
		.pages = DAX_PAGES_PTE,
	};

	set_up(false);
	MUST(!dax_device_memory(&second_dev, 1 << 20));
	ops.sync = second_sync;
	ops.flush = second_flush;
	second_dev->persist = &ops;
	second_syncs = second_flushes = 0;
	file = mock_file(&mock, fx.dev, 32 * 4096);
	MUST(!dax_vma_new(&vma, file, &attr));
	for (uint64_t page = 0; page < 32; page++)
		poke(vma, pos_of(page), 'x');
	EQ(dax_mapping_fsync(file, NULL), -EIO);
	EQ(medium.flushes, 16);
	EQ(second_flushes, 16);
	EQ(dax_mapping_writeback(file, 0, UINT64_MAX), 16);	/* of the second */
	EQ(second_syncs, 2);
	EQ(second_flushes, 32);
	EQ(medium.flushes, 16);
	CHECK(!radix_tree_tagged(&file->i_pages, DAX_PAGECACHE_TAG_DIRTY));
	dax_vma_put(vma);
	dax_mapping_put(file);
	second_dev->persist = &persist_memory;
	dax_device_put(second_dev);
	tear_down();
}

/* ---- alone with the file -------------------- */

static void exclusive(void)
{
	set_up(true);
	for (dax_pgoff_t page = 0; page < 300; page++)
		poke(small, pos_of(page), 'x');
	MUST(!mapping_lock_exclusive(fx.file));
	EQ(writeback_exclusive(fx.file, 10, 299), 0);
	mapping_unlock_exclusive(fx.file);
	EQ(medium.flushes, 290);
	EQ(medium.syncs, 0);
	CHECK(is_dirty(9) && !is_dirty(10) && !is_dirty(299));
	CHECK(!has_towrite(10));
	CHECK(!writable(small, 10));
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	EQ(survives(fx.file, pos_of(299)), 'x');
	tear_down();
}

/* A block that held somebody's bytes: its zeroes are fenced before a mapping
 * shows it. */
static unsigned int fences_at_leaf;

static void count_fences(enum dax_test_point point)
{
	if (point == DAX_TEST_AFTER_IOMAP)
		fences_at_leaf = (unsigned int)medium.fences;
}

static void zeroes_are_fenced(void)
{
	set_up(false);
	dax_test.yield = count_fences;
	poke(small, pos_of(3), 'x');
	EQ(fences_at_leaf, 0);	/* a block of a new memfd is zero */
	for (dax_pgoff_t page = 0; page < PAGES; page++)
		poke(small, pos_of(page), 'x');
	EQ(dax_mapping_truncate(fx.file, 0), 0);
	EQ(dax_mapping_truncate(fx.file, (dax_loff_t)pos_of(PAGES)), 0);
	MUST(!medium.nt_bytes);
	fx.dev->blocks.nr_free -= DEVICE_PAGES - PAGES;	/* no others are left */
	memset(fx.dev->blocks.used + PAGES / 64, 0xff, (DEVICE_PAGES - PAGES) / 8);
	poke(small, pos_of(3), 'y');
	EQ(medium.nt_bytes, DAX_PAGE_SIZE);
	EQ(fences_at_leaf, 1);
	tear_down();
}

/* ---- the page-cache policy -------------------- */

static void cached(void)
{
	char byte = 0;

	fx_file((dax_loff_t)pos_of(PAGES), DAX_POLICY_PAGE_CACHE, NULL);
	small = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	huge = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_AUTO);
	medium_attach(fx.dev, true);
	EQ(dax_vma_read(small, &byte, 1, pos_of(4), NULL), 1);
	for (int round = 'a'; round < 'd'; round++) {
		poke(small, pos_of(3), (char)round);
		EQ(dax_mapping_writeback(fx.file, 0, UINT64_MAX), 1);
		EQ(survives(fx.file, pos_of(3)), round);
		CHECK(!writable(small, 3));
	}
	tear_down();
}

int main(void)
{
	plan(35);
	run("fsync: tags fall, leaves are read-only, bytes survive", fsync_at_once);
	run("the same where only a sync makes them durable", fsync_deferred);
	run("re-dirty after fsync: the store faults and tags again", redirty);
	run("reads and pwrite do not dirty", what_is_not_dirty);
	run("a range: whole entries, no others", ranges);
	run("ranges that are refused", ranges_refused);
	run("order: protect, flush, sync, clear", order);
	run("entries in batches, a fence each", batches);
	run("a store inside its frame is waited for, 4 KiB", store_inside_pte);
	run("a store inside its frame is waited for, 2 MiB", store_inside_pmd);
	run("a store after mkclean waits for the entry", store_waits);
	run("re-dirtied before the sync, 4 KiB: stays dirty", redirtied_pte);
	run("re-dirtied before the sync, 2 MiB: stays dirty", redirtied_pmd);
	run("a store that has the entry when its tags should fall", store_beside_finish);
	run("concurrent fsync: three, none returns too early", three_at_once);
	run("the same where only a sync makes durable", three_deferred);
	run("who waits for an entry holds no other", waits_holding_nothing);
	run("ends under writers that never stop", ends_under_writers);
	run("ends though the file grows ahead of it", ends_though_the_file_grows);
	run("begins during a truncate that fails", truncate_fails_meanwhile);
	run("truncate and punch between flush and sync", gone_before_sync);
	run("what is left of 2 MiB outside the range is clean too", split_before_sync);
	run("zero_range inside a dirty 2 MiB entry", zero_inside);
	run("truncate inside a dirty 2 MiB entry", truncate_inside);
	run("a block map moves one page of a dirty 2 MiB entry", blocks_move);
	run("writeback error: dirty stays, told once, retry works", sync_fails);
	run("cursors of a failure", cursors);
	run("a refused fsync leaves the cursor", refused_keeps_cursor);
	run("the device dies: dirty stays", device_dies);
	run("the block map is synced after the bytes", syncs_block_map);
	run("refused inside the file's own block map", refused_inside);
	run("two devices, one of which fails to sync", two_devices);
	run("writeback alone with the file", exclusive);
	run("zeroes of a block used before are fenced", zeroes_are_fenced);
	run("the page-cache policy", cached);
	return done();
}
