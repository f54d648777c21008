/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_tree.c -- tree and entry lock beside bare loads and bare locks
 *
 * Runs every loop once per round, in rotated order, and prints one JSON
 * object: medians in ns per operation.  Random order goes over a tree four
 * times as large, so that it leaves the caches.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "tree_rounds.h"

enum { WARM_UP = 1, ITERATIONS = 1 << 20 };

static struct tree_bench *tree_for(struct tree_bench *trees[2], uint64_t work)
{
	return trees[work == TREE_WALK_RANDOM || work == TREE_LOOKUP_RANDOM];
}

int main(int argc, char **argv)
{
	uint64_t pages = bench_option(argc, argv, "pages", 1 << 18);
	uint64_t rounds = bench_option(argc, argv, "rounds", 15);
	double *ns = calloc(rounds * TREE_NR_WORKS, sizeof(*ns));
	struct tree_bench *trees[2];
	double value;

	if (!ns)
		return 1;
	bench_check(tree_bench_new(&trees[0], pages), "tree");
	bench_check(tree_bench_new(&trees[1], 4 * pages), "large tree");
	for (uint64_t i = 0; i < rounds + WARM_UP; i++) {
		for (uint64_t k = 0; k < TREE_NR_WORKS; k++) {
			uint64_t work = (i + k) % TREE_NR_WORKS;

			bench_check(tree_round(tree_for(trees, work), (int)work,
					       ITERATIONS, &value),
				    tree_work_name((int)work));
			if (i >= WARM_UP)
				ns[work * rounds + i - WARM_UP] = value;
		}
	}
	printf("{\n  \"entries\": %lu,\n  \"rounds\": %lu", pages, rounds);
	for (int work = 0; work < TREE_NR_WORKS; work++)
		printf(",\n  \"%s\": %.3f", tree_work_name(work),
		       bench_median(&ns[(uint64_t)work * rounds], rounds));
	printf("\n}\n");
	tree_bench_free(trees[0]);
	tree_bench_free(trees[1]);
	free(ns);
	return 0;
}
