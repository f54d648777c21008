/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tree_rounds.h -- timed loops over the tree and the entry lock, and over the
 * bare loads and compare-and-swaps they are made of
 *
 * Works on the inside of the library, so it is linked with its sources.
 */
#ifndef TREE_ROUNDS_H
#define TREE_ROUNDS_H

#include "daxcore.h"

struct tree_bench;

/* The bare thing first, then the library's. */
enum tree_work {
	TREE_FLAT_SEQ,		/* acquire load from an array */
	TREE_WALK_SEQ,		/* acquire loads down the same nodes, unchecked */
	TREE_LOOKUP_SEQ,
	TREE_WALK_RANDOM,
	TREE_LOOKUP_RANDOM,
	TREE_CAS_PAIR,		/* 0 -> 1 -> 0 */
	TREE_LOCK_PAIR,		/* grab and put of an entry, walk included */
	TREE_CAS_PAIR_2,	/* two threads, two cache lines */
	TREE_LOCK_PAIR_2,	/* two threads, two pages */
	TREE_SPIN_LOCK_2,	/* two threads, one compare-and-swap lock */
	TREE_ENTRY_LOCK_2,	/* two threads, one entry */
	TREE_NR_WORKS
};

/* A tree of @nr zero entries; @nr is a power of two, at least 1024.
 * 0 or -errno. */
DAX_API int tree_bench_new(struct tree_bench **ret_bench, uint64_t nr);
DAX_API void tree_bench_free(struct tree_bench *bench);

/*
 * Do @work @iterations times in each of its threads.  @ret_ns: wall time
 * divided by @iterations.  0; -EIO: the two threads lost an update under a
 * lock; -errno.
 */
DAX_API int tree_round(struct tree_bench *bench, int work, uint64_t iterations,
		       double *ret_ns);

DAX_API const char *tree_work_name(int work);

#endif
