/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stress_writeback.c -- a million operations of three threads: stores,
 * pwrite, zero_range, fsync, writeback of ranges, invalidation
 *
 * Each thread has bytes of its own in every page, some to store to and some to
 * write to, so it knows what it must find there at any time.  A flush reads what
 * is stored to: TSan sees a store that writeback did not wait for.
 */
#include "invalidate.h"
#include "invariants.h"
#include "white_box.h"

enum { THREADS = 3, OPS = 500000 / THREADS, PAGES = 2 * PMD_PAGES,
       NR_PAGES = 64, FIRST = PMD_PAGES - NR_PAGES / 2 };

static struct dax_vma *vma[2];
static pthread_t threads[THREADS];

struct worker {
	unsigned int nr;
	uint64_t random;
	unsigned char model[2][NR_PAGES];
};

/* Of the byte that is stored to, or of the one that is written to. */
enum { STORED, WRITTEN };

static uint64_t position(const struct worker *w, unsigned int page, int how)
{
	return ((uint64_t)(FIRST + page) << DAX_PAGE_SHIFT) + w->nr * 128 +
	       (how == WRITTEN ? 64 : 0);
}

static void check_byte(const struct worker *w, unsigned int page, int how,
		       bool mapped)
{
	unsigned char byte = 0;
	uint64_t pos = position(w, page, how);
	ssize_t ret = mapped ? dax_vma_read(vma[page & 1], &byte, 1, pos, NULL)
			     : dax_mapping_pread(fx.file, &byte, 1, (dax_loff_t)pos);

	EQ(ret, 1);
	EQ(byte, w->model[how][page]);
}

static void drop_clean(unsigned int page)
{
	struct percpu_area *area;

	MUST(!mapping_lock_shared(fx.file, &area));
	invalidate_pages_range(fx.file, area, FIRST + page, FIRST + page + 5, false, 0);
	mapping_unlock_shared(fx.file, area);
}

static void one_step(struct worker *w, uint64_t r)
{
	unsigned int page = (unsigned int)(r >> 8) % NR_PAGES;
	unsigned char byte = (unsigned char)(r >> 24);
	uint64_t pos = position(w, page, STORED);
	uint64_t written = position(w, page, WRITTEN);

	switch (r % 64) {
	case 0:
		EQ(dax_mapping_fsync(fx.file, NULL), 0);
		break;
	case 1: case 2:
		CHECK(dax_mapping_writeback(fx.file, (dax_loff_t)(pos & ~4095ull),
					    (r >> 40) % 20 * 4096) >= 0);
		break;
	case 3: case 4:
		drop_clean(page);
		break;
	case 5: case 6:
		EQ(dax_mapping_zero_range(fx.file, (dax_loff_t)written, 7), 0);
		w->model[WRITTEN][page] = 0;
		break;
	case 7: case 8: case 9: case 10:
		EQ(dax_mapping_pwrite(fx.file, &byte, 1, (dax_loff_t)written), 1);
		w->model[WRITTEN][page] = byte;
		break;
	case 11: case 12: case 13: case 14: case 15:
		check_byte(w, page, r >> 41 & 1, r >> 40 & 1);
		break;
	default:
		EQ(dax_vma_write(vma[r >> 40 & 1], &byte, 1, pos, NULL), 1);
		w->model[STORED][page] = byte;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < OPS && !tap_bad; i++) {
		w->random ^= w->random << 13;
		w->random ^= w->random >> 7;
		w->random ^= w->random << 17;
		one_step(w, w->random);
	}
	for (unsigned int page = 0; page < NR_PAGES; page++) {
		check_byte(w, page, STORED, page & 1);
		check_byte(w, page, WRITTEN, !(page & 1));
	}
	return NULL;
}

/* ---- a medium that reads what it is to keep ---------------------------------------- */

static int no_sync(struct dax_device *dev)
{
	(void)dev;
	return 0;
}

static int read_stored(struct dax_device *dev, const void *addr, size_t n)
{
	static _Thread_local volatile unsigned int sum;
	const unsigned char *bytes = addr;

	(void)dev;
	for (size_t at = 0; at < n; at += DAX_PAGE_SIZE)
		for (unsigned int i = 0; i < THREADS; i++)
			sum += bytes[at + i * 128];
	return 0;
}

static void stress(const struct persist_ops *ops)
{
	static struct worker worker[THREADS];

	fx_open_real(PAGES);
	fx.dev->persist = ops;
	vma[0] = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	vma[1] = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_AUTO);
	dax_test.yield = jitter;
	for (unsigned int i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){ .nr = i, .random = 88172645463325252u + i };
		MUST(!pthread_create(&threads[i], NULL, work, &worker[i]));
	}
	for (unsigned int i = 0; i < THREADS; i++)
		MUST(!pthread_join(threads[i], NULL));
	dax_test.yield = NULL;
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	CHECK(!radix_tree_tagged(&fx.file->i_pages, DAX_PAGECACHE_TAG_DIRTY));
	check_invariants(fx.file);
	dax_vma_put(vma[1]);
	dax_vma_put(vma[0]);
	fx.dev->persist = &persist_memory;
	fx_close();
}

static void stress_with(bool durable_at_fence)
{
	struct persist_ops ops = persist_memory;

	ops.sync = no_sync;
	ops.flush = read_stored;
	ops.durable_at_fence = durable_at_fence;
	stress(&ops);
}

static void at_once(void)
{
	stress_with(true);
}

static void deferred(void)
{
	stress_with(false);
}

int main(void)
{
	plan(2);
	run("durable when flushed", at_once);
	run("durable when synced: TOWRITE between", deferred);
	return done();
}
