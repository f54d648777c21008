/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stress_tree.c -- two threads in one tree; built under TSan too
 *
 * Each thread inserts, tags, replaces and removes entries of its own pages,
 * which stand in the same nodes as the other's, and looks at the other's as
 * well.  Both race for pages that are nobody's and for 2 MiB entries; who gets
 * one of those splits it.  Now and then they meet and the tree is checked,
 * pruned and emptied by one.
 */
#include <pthread.h>

#include "invariants.h"
#include "white_box.h"

enum { THREADS = 2, MEETINGS = 40, STEPS = 15000, PAGES = 16 * 512 };

static struct radix_tree_root tree;
static pthread_barrier_t meeting;
static _Atomic uint64_t operations;
static _Atomic unsigned int wrong;

/* The word of a page says which page it is of, and by whom. */
static void *word_of(dax_pgoff_t index, unsigned int thread)
{
	return dax_to_slot((index * THREADS + thread) << DAX_ENTRY_SHIFT |
			   DAX_EXCEPTIONAL);
}

static void expect(bool good)
{
	if (!good)
		wrong++;
}

/* What anyone may see at a page: nothing, a node, or a word of that page. */
static void check_seen(const struct radix_tree_iter *iter)
{
	void *entry = iter->entry;

	expect(!entry || radix_tree_is_internal_node(entry) ||
	       dax_radix_pfn(entry) / THREADS == iter->index);
}

static void look(dax_pgoff_t index)
{
	struct radix_tree_iter iter;

	if (radix_tree_walk(&tree, index, 0, &iter))
		check_seen(&iter);
	if (radix_tree_next(&tree, index, index + 20, &iter))
		check_seen(&iter);
	if (radix_tree_next_tagged(&tree, index, index + 20,
				   DAX_PAGECACHE_TAG_DIRTY, &iter))
		check_seen(&iter);
}

/* Nobody else changes this page's slot; somebody's 2 MiB entry may cover it. */
static void own_page(dax_pgoff_t index, unsigned int thread)
{
	void *entry = word_of(index, thread);
	struct radix_tree_iter iter;

	if (radix_tree_insert(&tree, index, 0, entry, &iter))
		return;
	expect(radix_tree_lookup(&tree, index) == entry);
	radix_tree_tag_set(&iter, DAX_PAGECACHE_TAG_DIRTY);
	radix_tree_tag_set(&iter, DAX_PAGECACHE_TAG_TOWRITE);
	expect(radix_tree_tag_get(&iter, DAX_PAGECACHE_TAG_DIRTY));
	expect(radix_tree_tagged(&tree, DAX_PAGECACHE_TAG_TOWRITE));
	smp_store_release(iter.slot, dax_lock_word(entry));
	expect(radix_tree_lookup(&tree, index) == dax_lock_word(entry));
	radix_tree_tag_clear(&iter, DAX_PAGECACHE_TAG_TOWRITE);
	expect(!radix_tree_tag_get(&iter, DAX_PAGECACHE_TAG_TOWRITE));
	if (index % 3 == 0)
		return;		/* stays until the meeting */
	radix_tree_tag_clear(&iter, DAX_PAGECACHE_TAG_DIRTY);
	smp_store_release(iter.slot, NULL);
}

/* Race for a 2 MiB entry; the winner gives it up for one page. */
static void race_for_pmd(dax_pgoff_t index, unsigned int thread)
{
	dax_pgoff_t base = radix_tree_canonical(index, 9);
	struct radix_tree_iter iter, below;
	void *chain;

	if (radix_tree_insert(&tree, base, 9, word_of(base, thread), &iter))
		return;
	expect(radix_tree_lookup(&tree, index) == word_of(base, thread));
	radix_tree_tag_set(&iter, DAX_PAGECACHE_TAG_DIRTY);
	expect(!radix_tree_split_prepare(&tree, &iter, index, word_of(index, thread),
					 &below, &chain));
	radix_tree_split_publish(&iter, chain);
	expect(radix_tree_lookup(&tree, index) == word_of(index, thread));
	smp_store_release(below.slot, NULL);
}

/* Race for a page that is nobody's: one of the two gets it, and has it until
 * it gives it up. */
static void race_for_page(unsigned int thread)
{
	void *entry = word_of(PAGES, thread);
	struct radix_tree_iter iter;

	for (int i = 0; i < 50; i++) {
		if (radix_tree_insert(&tree, PAGES, 0, entry, &iter))
			continue;
		expect(radix_tree_lookup(&tree, PAGES) == entry);
		expect(radix_tree_lookup(&tree, PAGES) == entry);
		smp_store_release(iter.slot, NULL);
	}
}

static void step(unsigned int *seed, unsigned int thread)
{
	dax_pgoff_t index = rnd(seed, PAGES / THREADS) * THREADS + thread;

	switch (rnd(seed, 8)) {
	case 0:
		race_for_pmd(index, thread);
		break;
	case 1:
		race_for_page(thread);
		break;
	case 2:
		look(rnd(seed, PAGES));
		break;
	default:
		own_page(index, thread);
		break;
	}
}

static bool drop(const struct radix_tree_iter *iter, void *arg)
{
	(void)iter;
	(void)arg;
	return true;
}

/* One thread alone: exact after a prune, empty after a delete of all. */
static void settle(void)
{
	check_tree(&tree);
	radix_tree_prune(&tree);
	check_tree_exact(&tree);
	radix_tree_delete_range(&tree, 0, 2 * PAGES, drop, NULL);
	check_tree_exact(&tree);
	EQ(radix_tree_bytes(&tree), 0);
}

static void *thread_main(void *arg)
{
	unsigned int thread = (unsigned int)(uintptr_t)arg, seed = thread + 1;

	for (int i = 0; i < MEETINGS; i++) {
		for (int j = 0; j < STEPS; j++)
			step(&seed, thread);
		atomic_fetch_add(&operations, STEPS);
		pthread_barrier_wait(&meeting);
		if (thread == 0)
			settle();
		pthread_barrier_wait(&meeting);
	}
	return NULL;
}

static void two_threads(void)
{
	pthread_t threads[THREADS];

	dax_test.yield = jitter;
	radix_tree_init(&tree, 2 * PAGES);
	pthread_barrier_init(&meeting, NULL, THREADS);
	for (uintptr_t i = 0; i < THREADS; i++)
		MUST(!pthread_create(&threads[i], NULL, thread_main, (void *)i));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	dax_test.yield = NULL;
	radix_tree_destroy(&tree);
	EQ(wrong, 0);
	CHECK(operations >= 1000000);
}

int main(void)
{
	plan(1);
	run("1.2 million operations of two threads in one tree", two_threads);
	return done();
}
