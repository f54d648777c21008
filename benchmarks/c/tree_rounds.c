/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tree_rounds.c -- timed loops over the tree and the entry lock
 *
 * Owns: a file whose tree is full of zero entries, a flat array of as many
 * words, and two cache lines for the bare locks.
 * Locks: each thread holds the file's invalidate_lock shared around its loop,
 *        as a fault does.
 */
#define _GNU_SOURCE
#include "tree_rounds.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "entry_lock.h"
#include "mapping.h"
#include "sys.h"

struct line {
	_Atomic uint64_t word;
} __aligned(FALSE_SHARING);

struct tree_bench {
	struct line line[2];
	struct line ready;	/* threads at the start */
	uint64_t counter __aligned(FALSE_SHARING); /* under the lock tested */
	struct dax_device *dev __aligned(FALSE_SHARING);
	struct dax_mapping *mapping;
	uint64_t nr;		/* entries, a power of two */
	uint64_t *order;
	_Atomic uint64_t *flat;
};

/* A worker writes its own only before and after its loop. */
struct worker {
	struct tree_bench *bench;
	const struct tree_loop *loop;
	uint64_t iterations;
	unsigned int thread;	/* 0 or 1 */
	struct percpu_area *area;
	uint64_t start, end;	/* ns */
	uint64_t sum;		/* keeps the loads alive */
	int ret;
};

struct tree_loop {
	const char *name;
	void (*run)(struct worker *w);
	unsigned int nr_threads;
};

/* ---- the loops ------------------------------------------------------------ */

static void flat_seq(struct worker *w)
{
	_Atomic uint64_t *flat = w->bench->flat;
	uint64_t mask = w->bench->nr - 1;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < w->iterations; i++)
		sum += smp_load_acquire(&flat[i & mask]);
	w->sum = sum;
}

/* The height is known and nothing is looked at on the way down. */
static __always_inline_fn void *bare_walk(struct radix_tree_node *node,
					  unsigned int shift, uint64_t index)
{
	for (; shift; shift -= RADIX_TREE_MAP_SHIFT)
		node = entry_to_node(smp_load_acquire(
			&node->slots[(index >> shift) & RADIX_TREE_MAP_MASK]));
	return smp_load_acquire(&node->slots[index & RADIX_TREE_MAP_MASK]);
}

static void walk_seq(struct worker *w)
{
	uintptr_t rnode = smp_load_acquire(&w->bench->mapping->i_pages.rnode);
	struct radix_tree_node *top = rnode_node(rnode);
	unsigned int shift = rnode_shift(rnode);
	uint64_t mask = w->bench->nr - 1;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < w->iterations; i++)
		sum += dax_from_slot(bare_walk(top, shift, i & mask));
	w->sum = sum;
}

static void lookup_seq(struct worker *w)
{
	struct radix_tree_root *root = &w->bench->mapping->i_pages;
	uint64_t mask = w->bench->nr - 1;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < w->iterations; i++)
		sum += dax_from_slot(radix_tree_lookup(root, i & mask));
	w->sum = sum;
}

static void walk_random(struct worker *w)
{
	struct tree_bench *b = w->bench;
	uintptr_t rnode = smp_load_acquire(&b->mapping->i_pages.rnode);
	struct radix_tree_node *top = rnode_node(rnode);
	unsigned int shift = rnode_shift(rnode);
	uint64_t sum = 0;

	for (uint64_t i = 0; i < w->iterations; i++)
		sum += dax_from_slot(
			bare_walk(top, shift, b->order[i & (b->nr - 1)]));
	w->sum = sum;
}

static void lookup_random(struct worker *w)
{
	struct tree_bench *b = w->bench;
	struct radix_tree_root *root = &b->mapping->i_pages;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < w->iterations; i++)
		sum += dax_from_slot(
			radix_tree_lookup(root, b->order[i & (b->nr - 1)]));
	w->sum = sum;
}

static __always_inline_fn bool cas(_Atomic uint64_t *word, uint64_t from,
				   uint64_t to, memory_order order)
{
	return atomic_compare_exchange_strong_explicit(
		word, &from, to, order, memory_order_relaxed);
}

static void cas_pair(struct worker *w)
{
	_Atomic uint64_t *word = &w->bench->line[w->thread].word;
	int ret = 0;

	for (uint64_t i = 0; i < w->iterations; i++) {
		ret |= !cas(word, 0, 1, memory_order_acquire);
		ret |= !cas(word, 1, 0, memory_order_release);
	}
	w->ret = ret;
}

static void lock_pair(struct worker *w)
{
	dax_pgoff_t index = w->thread * (w->bench->nr / 2);
	struct dax_slot slot;
	int ret = 0;

	for (uint64_t i = 0; i < w->iterations; i++) {
		dax_slot_init(&slot, w->bench->mapping, w->area, index);
		ret |= grab_mapping_entry(&slot, 0);
		put_locked_mapping_entry(&slot);
	}
	w->ret = ret;
}

/* The plain counter shows at the end whether the lock kept others out. */
static void spin_lock_2(struct worker *w)
{
	struct tree_bench *b = w->bench;
	_Atomic uint64_t *word = &b->line[0].word;

	for (uint64_t i = 0; i < w->iterations; i++) {
		while (!cas(word, 0, 1, memory_order_acquire))
			cpu_relax();
		b->counter++;
		smp_store_release(word, 0);
	}
}

static void entry_lock_2(struct worker *w)
{
	struct tree_bench *b = w->bench;
	struct dax_slot slot;
	int ret = 0;

	for (uint64_t i = 0; i < w->iterations; i++) {
		dax_slot_init(&slot, b->mapping, w->area, 0);
		ret |= grab_mapping_entry(&slot, 0);
		b->counter++;
		put_locked_mapping_entry(&slot);
	}
	w->ret = ret;
}

static const struct tree_loop loops[TREE_NR_WORKS] = {
	[TREE_FLAT_SEQ] = { "flat load, sequential", flat_seq, 1 },
	[TREE_WALK_SEQ] = { "bare walk, sequential", walk_seq, 1 },
	[TREE_LOOKUP_SEQ] = { "lookup, sequential", lookup_seq, 1 },
	[TREE_WALK_RANDOM] = { "bare walk, random", walk_random, 1 },
	[TREE_LOOKUP_RANDOM] = { "lookup, random", lookup_random, 1 },
	[TREE_CAS_PAIR] = { "bare compare-and-swap pair", cas_pair, 1 },
	[TREE_LOCK_PAIR] = { "entry lock and unlock", lock_pair, 1 },
	[TREE_CAS_PAIR_2] = { "two bare pairs, two lines", cas_pair, 2 },
	[TREE_LOCK_PAIR_2] = { "entry locks, two pages", lock_pair, 2 },
	[TREE_SPIN_LOCK_2] = { "bare spin lock, two threads", spin_lock_2, 2 },
	[TREE_ENTRY_LOCK_2] = { "entry lock, two threads", entry_lock_2, 2 },
};

const char *tree_work_name(int work)
{
	return work >= 0 && work < TREE_NR_WORKS ? loops[work].name : NULL;
}

/* ---- threads ---------------------------------------------------------------- */

/* A CPU each, if there are as many: two threads on one measure the scheduler. */
static void pin(unsigned int thread)
{
	cpu_set_t allowed, one;
	int cpu = -1;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) ||
	    CPU_COUNT(&allowed) < 2)
		return;
	for (unsigned int seen = 0; seen <= thread; seen++)
		do
			cpu++;
		while (!CPU_ISSET(cpu, &allowed));
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
}

static void wait_for_others(struct worker *w)
{
	_Atomic uint64_t *ready = &w->bench->ready.word;

	atomic_fetch_add(ready, 1);
	while (smp_load_acquire(ready) < w->loop->nr_threads)
		cpu_relax();
}

static void *work(void *arg)
{
	struct worker *w = arg;

	pin(w->thread);
	w->ret = mapping_lock_shared(w->bench->mapping, &w->area);
	wait_for_others(w);
	w->start = sys_clock_ns();
	if (!w->ret) {
		w->loop->run(w);
		w->end = sys_clock_ns();
		mapping_unlock_shared(w->bench->mapping, w->area);
	}
	return NULL;
}

/* Two threads or none: one alone would wait for the other for ever. */
static int run_workers(struct worker *w, unsigned int nr)
{
	pthread_t threads[2];
	int ret = 0;

	for (unsigned int i = 0; i < nr && !ret; i++) {
		ret = -pthread_create(&threads[i], NULL, work, &w[i]);
		if (ret && i)
			atomic_fetch_add(&w->bench->ready.word, nr - i);
		nr = ret ? i : nr;
	}
	for (unsigned int i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
	return ret;
}

static int judge(const struct worker *w, unsigned int nr)
{
	const struct tree_bench *b = w->bench;

	for (unsigned int i = 0; i < nr; i++)
		if (w[i].ret)
			return w[i].ret < 0 ? w[i].ret : -EIO;
	if (b->counter && b->counter != nr * w->iterations)
		return -EIO;
	return 0;
}

static double wall_ns(const struct worker *w, unsigned int nr)
{
	uint64_t start = w[0].start, end = w[0].end;

	for (unsigned int i = 1; i < nr; i++) {
		start = w[i].start < start ? w[i].start : start;
		end = w[i].end > end ? w[i].end : end;
	}
	return (double)(end - start) / (double)w->iterations;
}

int tree_round(struct tree_bench *b, int which, uint64_t iterations,
	       double *ret_ns)
{
	struct worker w[2] = { 0 };
	int ret;

	if (!tree_work_name(which) || !iterations)
		return -EINVAL;
	for (unsigned int i = 0; i < 2; i++)
		w[i] = (struct worker){ .bench = b, .loop = &loops[which],
					.iterations = iterations, .thread = i };
	b->counter = 0;
	atomic_store(&b->ready.word, 0);
	ret = run_workers(w, w->loop->nr_threads);
	if (!ret)
		ret = judge(w, w->loop->nr_threads);
	if (!ret)
		*ret_ns = wall_ns(w, w->loop->nr_threads);
	return ret;
}

/* ---- setting up ------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static int fill_arrays(struct tree_bench *b)
{
	uint64_t seed = 0x9e3779b97f4a7c15u;

	b->order = dax_zalloc(b->nr * sizeof(*b->order));
	b->flat = dax_zalloc(b->nr * sizeof(*b->flat));
	if (!b->order || !b->flat)
		return -ENOMEM;
	for (uint64_t i = 0; i < b->nr; i++) {
		b->order[i] = i;
		WRITE_ONCE(b->flat[i], i);
	}
	for (uint64_t i = b->nr; i > 1; i--) {
		uint64_t j = next_random(&seed) % i, tmp = b->order[j];

		b->order[j] = b->order[i - 1];
		b->order[i - 1] = tmp;
	}
	return 0;
}

/* Read every page of a hole: that leaves a zero entry for each. */
static int fill_tree(struct tree_bench *b)
{
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr),
		.length = b->nr * DAX_PAGE_SIZE,
		.flags = DAX_VM_READ | DAX_VM_SHARED,
		.pages = DAX_PAGES_PTE,
	};
	struct dax_vma *vma;
	int64_t faults;
	int ret = dax_vma_new(&vma, b->mapping, &attr);

	if (ret)
		return ret;
	faults = dax_vma_fault_range(vma, 0, b->nr, 0, NULL, 0, NULL);
	dax_vma_put(vma);
	return faults < 0 ? (int)faults : 0;
}

static int set_up(struct tree_bench *b)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr),
		.size = (dax_loff_t)(b->nr * DAX_PAGE_SIZE),
	};
	int ret = dax_device_memory(&b->dev, DAX_PMD_SIZE);

	if (!ret)
		ret = dax_mapping_new(&b->mapping, b->dev, &attr);
	if (!ret)
		ret = fill_arrays(b);
	return ret ? ret : fill_tree(b);
}

int tree_bench_new(struct tree_bench **ret_bench, uint64_t nr)
{
	struct tree_bench *b;
	int ret;

	if (nr < 1024 || nr & (nr - 1))
		return -EINVAL;
	b = aligned_alloc(FALSE_SHARING, sizeof(*b));
	if (!b)
		return -ENOMEM;
	memset(b, 0, sizeof(*b));
	b->nr = nr;
	ret = set_up(b);
	if (ret)
		tree_bench_free(b);
	else
		*ret_bench = b;
	return ret;
}

void tree_bench_free(struct tree_bench *b)
{
	if (b->mapping)
		dax_mapping_put(b->mapping);
	if (b->dev)
		dax_device_put(b->dev);
	dax_free(b->order);
	dax_free(b->flat);
	free(b);
}
