/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stress_fault.c -- two threads fault, store, write, punch and truncate
 * in one file; built under TSan too
 *
 * Pages alternate between the threads, so that both work on the same entries
 * and nodes but never on the same bytes: of its own pages a thread knows what
 * each must hold.  The pages at the end of the file come and go with its
 * size; there a page holds its own value or zero.
 */
#include <pthread.h>

#include "invariants.h"
#include "white_box.h"

enum {
	THREADS = 2,
	STEPS = 300000,			/* of each thread, for each policy */
	STABLE = 3 * PMD_PAGES,		/* pages that are always in the file */
	MOST = 7 * PMD_PAGES		/* pages it has at most */
};

struct thread {
	pthread_t thread;
	unsigned int nr;
	unsigned int seed;
	unsigned char file[STABLE];	/* what the file's pages hold */
	unsigned char copy[STABLE];	/* what private copies hold, 0: none */
	unsigned int wrong;
	const char *where;
};

static struct thread threads[THREADS];
static struct dax_vma *automatic, *small, *copies;

static void wrong(struct thread *t, const char *where)
{
	t->wrong++;
	t->where = where;
}

/* A page of the thread's own; mostly few of them, so that they are met again. */
static dax_pgoff_t own_page(struct thread *t, dax_pgoff_t pages)
{
	dax_pgoff_t page = rnd(&t->seed, 4) ? rnd(&t->seed, 64) + rnd(&t->seed, 3) * PMD_PAGES
				     : rnd(&t->seed, (unsigned int)pages);

	page = page / THREADS * THREADS + t->nr;
	return page < pages ? page : t->nr;
}

static uint64_t byte_of(dax_pgoff_t page)
{
	return (page << DAX_PAGE_SHIFT) + page % 4000;
}

static struct dax_vma *some_vma(struct thread *t)
{
	return rnd(&t->seed, 2) ? automatic : small;
}

/* ---- what a thread does -------------------------------------------------------------- */

static void load(struct thread *t)
{
	dax_pgoff_t page = own_page(t, STABLE);
	unsigned char byte = 0xee;

	if (dax_vma_read(some_vma(t), &byte, 1, byte_of(page), NULL) != 1 ||
	    byte != t->file[page])
		wrong(t, "load");
}

static void store(struct thread *t)
{
	dax_pgoff_t page = own_page(t, STABLE);
	unsigned char byte = (unsigned char)(1 + rnd(&t->seed, 200));

	if (dax_vma_write(some_vma(t), &byte, 1, byte_of(page), NULL) != 1)
		wrong(t, "store");
	else
		t->file[page] = byte;
}

static void load_copy(struct thread *t)
{
	dax_pgoff_t page = own_page(t, STABLE);
	unsigned char byte = 0xee;

	if (dax_vma_read(copies, &byte, 1, byte_of(page), NULL) != 1 ||
	    byte != (t->copy[page] ? t->copy[page] : t->file[page]))
		wrong(t, "load of a copy");
}

static void store_copy(struct thread *t)
{
	dax_pgoff_t page = own_page(t, STABLE);
	unsigned char byte = (unsigned char)(1 + rnd(&t->seed, 200));

	if (dax_vma_write(copies, &byte, 1, byte_of(page), NULL) != 1)
		wrong(t, "store to a copy");
	else
		t->copy[page] = byte;
}

static void fault_in(struct thread *t)
{
	dax_pgoff_t page = own_page(t, STABLE);
	int bits = dax_vma_fault(some_vma(t), page, (int)rnd(&t->seed, 2), NULL);

	if (bits < 0 || bits & DAX_VM_FAULT_ERROR)
		wrong(t, "fault");
}

static void pwrite_page(struct thread *t)
{
	dax_pgoff_t page = own_page(t, STABLE);
	unsigned char byte = (unsigned char)(1 + rnd(&t->seed, 200));

	if (dax_mapping_pwrite(fx.file, &byte, 1, (dax_loff_t)byte_of(page)) != 1)
		wrong(t, "pwrite");
	else
		t->file[page] = byte;
}

static void pread_page(struct thread *t)
{
	dax_pgoff_t page = own_page(t, STABLE);
	unsigned char byte = 0xee;

	if (dax_mapping_pread(fx.file, &byte, 1, (dax_loff_t)byte_of(page)) != 1 ||
	    byte != t->file[page])
		wrong(t, "pread");
}

static void punch(struct thread *t)
{
	dax_pgoff_t page = own_page(t, STABLE);

	if (dax_mapping_punch_hole(fx.file, (dax_loff_t)(page << DAX_PAGE_SHIFT),
				   DAX_PAGE_SIZE))
		wrong(t, "punch");
	else
		t->file[page] = 0;
}

static void truncate_or_grow(struct thread *t)
{
	dax_loff_t size = (STABLE << DAX_PAGE_SHIFT) +
			  rnd(&t->seed, (MOST - STABLE) << DAX_PAGE_SHIFT);

	if (dax_mapping_truncate(fx.file, size))
		wrong(t, "truncate");
}

/* Some whole 2 MiB at the end become a hole again. */
static void punch_end(struct thread *t)
{
	dax_loff_t first = (dax_loff_t)(STABLE + rnd(&t->seed, 4) * PMD_PAGES) << DAX_PAGE_SHIFT;

	if (dax_mapping_punch_hole(fx.file, first, DAX_PMD_SIZE))
		wrong(t, "punch of 2 MiB");
}

/* Pages that come and go: the page's value, zero, or past the end. */
static void touch_end(struct thread *t)
{
	dax_pgoff_t page = STABLE + rnd(&t->seed, (MOST - STABLE) / THREADS) * THREADS + t->nr;
	unsigned char value = (unsigned char)(page % 250 + 1), byte = 0xee;
	struct dax_fault_info info;
	ssize_t ret;

	if (rnd(&t->seed, 2))
		ret = dax_vma_write(some_vma(t), &value, 1, byte_of(page), &info);
	else
		ret = dax_vma_read(some_vma(t), &byte, 1, byte_of(page), &info);
	if (ret != 1 && ret != -EFAULT)
		wrong(t, "access near the end");
	if (byte != 0xee && byte != value && byte != 0)
		wrong(t, "bytes near the end");
}

static void drop_leaf(struct thread *t)
{
	dax_pgoff_t page = own_page(t, STABLE);

	if (dax_vma_dontneed(rnd(&t->seed, 2) ? copies : some_vma(t), 0, 0) ||
	    dax_vma_dontneed(copies, page << DAX_PAGE_SHIFT, DAX_PAGE_SIZE) ||
	    dax_vma_dontneed(some_vma(t), page << DAX_PAGE_SHIFT, DAX_PAGE_SIZE))
		wrong(t, "dontneed");
	t->copy[page] = 0;
}

static void map_and_unmap(struct thread *t)
{
	dax_pgoff_t page = own_page(t, STABLE);
	dax_pgoff_t first = page - rnd(&t->seed, (unsigned int)page + 1);
	struct dax_vma *vma = fx_vma(first, page - first + 1 + rnd(&t->seed, 700), RW_SHARED,
				     rnd(&t->seed, 2));
	unsigned char byte = 0xee;

	if (dax_vma_read(vma, &byte, 1, byte_of(page) - (first << DAX_PAGE_SHIFT),
			 NULL) != 1 || byte != t->file[page])
		wrong(t, "load through a new mapping");
	dax_vma_put(vma);
}

static void look_at_all(struct thread *t)
{
	struct dax_entry_info rows[16];
	dax_pgoff_t index = rnd(&t->seed, MOST);
	dax_pfn_t pfns[8];

	if (dax_mapping_entries(fx.file, &index, rows, 16) < 0 ||
	    dax_vma_pagemap(automatic, rnd(&t->seed, MOST - 8), pfns, 8))
		wrong(t, "snapshot");
}

/* The other one may be quicker; its stores wait. */
static void freeze(struct thread *t)
{
	int ret = dax_mapping_freeze(fx.file);

	if (ret == -EBUSY)
		return;
	if (ret)
		wrong(t, "freeze");
	load(t);
	look_at_all(t);
	if (dax_mapping_thaw(fx.file))
		wrong(t, "thaw");
}

static void hold_entry(struct thread *t)
{
	struct dax_entry_cookie *cookie;
	struct dax_entry_info row;
	unsigned int order = rnd(&t->seed, 2) * DAX_PMD_ORDER;
	int ret = dax_lock_mapping_entry(fx.file, own_page(t, STABLE), order, &row,
					 &cookie);

	if (ret == -EEXIST && order)
		return;
	if (ret || !(row.locked || row.page))
		wrong(t, "lock of an entry");
	else if (dax_unlock_mapping_entry(cookie))
		wrong(t, "unlock of an entry");
}

static void collect(struct thread *t)
{
	if (dax_mapping_collect(fx.file) < 0)
		wrong(t, "collect");
}

/* A hole by 4 KiB, then by 2 MiB through a mapping that has none of it. */
static void read_hole_twice(struct thread *t)
{
	dax_pgoff_t first = STABLE + rnd(&t->seed, 4) * PMD_PAGES;
	struct dax_vma *vma;
	int64_t ret;

	punch_end(t);
	ret = dax_vma_fault_range(small, first, PMD_PAGES, 0, NULL, 0, NULL);
	if (ret < 0 && ret != -EFAULT)
		wrong(t, "loads near the end");
	vma = fx_vma(0, MOST, RW_SHARED, DAX_PAGES_AUTO);
	ret = dax_vma_fault_range(vma, first, 1, 0, NULL, 0, NULL);
	if (ret < 0 && ret != -EFAULT)
		wrong(t, "load of 2 MiB near the end");
	dax_vma_put(vma);
}

static void step(struct thread *t)
{
	static void (*const usual[])(struct thread *t) = {
		load, load, store, store, load_copy, store_copy, fault_in,
		pread_page, pwrite_page, touch_end,
	};
	static void (*const alone[])(struct thread *t) = {
		punch, punch_end, truncate_or_grow, drop_leaf, map_and_unmap,
		look_at_all, freeze, hold_entry, collect, read_hole_twice,
	};

	if (rnd(&t->seed, 64))
		usual[rnd(&t->seed, 10)](t);
	else
		alone[rnd(&t->seed, 10)](t);
}

/* ---- the run ---------------------------------------------------------------------------- */

static void *thread_main(void *arg)
{
	for (int i = 0; i < STEPS; i++)
		step(arg);
	return NULL;
}

/* The last word: bytes as both threads left them, by every way there is. */
static void check_bytes(void)
{
	unsigned int bad = 0;

	for (dax_pgoff_t page = 0; page < STABLE; page++) {
		struct thread *t = &threads[page % THREADS];
		unsigned char byte[4] = { 0 };

		MUST(dax_mapping_pread(fx.file, &byte[0], 1,
				       (dax_loff_t)byte_of(page)) == 1);
		MUST(dax_vma_read(automatic, &byte[1], 1, byte_of(page), NULL) == 1);
		MUST(dax_vma_read(small, &byte[2], 1, byte_of(page), NULL) == 1);
		MUST(dax_vma_read(copies, &byte[3], 1, byte_of(page), NULL) == 1);
		bad += byte[0] != t->file[page] || byte[1] != t->file[page] ||
		       byte[2] != t->file[page] ||
		       byte[3] != (t->copy[page] ? t->copy[page] : t->file[page]);
	}
	EQ(bad, 0);
}

/* The run came by all the ways it is meant to test. */
static void check_ways(unsigned int policy)
{
	CHECK(count(DAX_STAT_PMD_LOAD_HOLE) > 0);
	CHECK(count(DAX_STAT_PMD_INSERT_MAPPING) > 0);
	CHECK(count(DAX_STAT_LOAD_HOLE) > 0);
	CHECK(count(DAX_STAT_INSERT_MAPPING) > 0);
	CHECK(count(DAX_STAT_COW_FAULT) > 0);
	CHECK(count(DAX_STAT_DOWNGRADE) > 0);
	CHECK(count(DAX_STAT_FALLBACK + DAX_FALLBACK_ENTRY_EXISTS) > 0);
	CHECK(count(DAX_STAT_EMPTY_COLLECTED) > 0);
	CHECK(policy == DAX_POLICY_PAGE_CACHE || count(DAX_STAT_PROMOTION) > 0);
	CHECK(policy == DAX_POLICY_ZERO_PAGE || count(DAX_STAT_PFN_MKWRITE) > 0);
}

static void stress(unsigned int policy)
{
	dax_test.yield = jitter;
	fx_file((dax_loff_t)MOST << DAX_PAGE_SHIFT, policy, NULL);
	automatic = fx_vma(0, MOST, RW_SHARED, DAX_PAGES_AUTO);
	small = fx_vma(0, MOST, RW_SHARED, DAX_PAGES_PTE);
	copies = fx_vma(0, MOST, RW_PRIVATE, DAX_PAGES_AUTO);
	for (unsigned int i = 0; i < THREADS; i++) {
		threads[i] = (struct thread){ .nr = i, .seed = 17 + i };
		MUST(!pthread_create(&threads[i].thread, NULL, thread_main, &threads[i]));
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i].thread, NULL);
		EQ(threads[i].wrong, 0);
		if (threads[i].wrong)
			printf("# thread %d, last: %s\n", i, threads[i].where);
	}
	dax_test.yield = NULL;
	check_ways(policy);
	check_invariants(fx.file);
	check_bytes();
	check_invariants(fx.file);
	dax_vma_put(copies);
	dax_vma_put(small);
	dax_vma_put(automatic);
	fx_close();
}

static void zero_page(void)
{
	stress(DAX_POLICY_ZERO_PAGE);
}

static void page_cache(void)
{
	stress(DAX_POLICY_PAGE_CACHE);
}

int main(void)
{
	plan(2);
	run("600,000 operations of two threads, zero page", zero_page);
	run("600,000 operations of two threads, page cache", page_cache);
	return done();
}
