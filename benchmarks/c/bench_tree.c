/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_tree.c -- tree and entry lock beside bare loads and bare locks
 *
 * Runs every loop once per round, in rotated order, and prints one JSON
 * object: medians in ns per operation.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "tree_rounds.h"

enum { WARM_UP = 1, ITERATIONS = 1 << 20 };

int main(int argc, char **argv)
{
	uint64_t pages = bench_option(argc, argv, "pages", 1 << 20);
	uint64_t rounds = bench_option(argc, argv, "rounds", 15);
	double *ns = calloc(rounds * TREE_NR_WORKS, sizeof(*ns));
	struct tree_bench *bench;
	double value;

	if (!ns)
		return 1;
	bench_check(tree_bench_new(&bench, pages), "tree");
	for (uint64_t i = 0; i < rounds + WARM_UP; i++) {
		for (uint64_t k = 0; k < TREE_NR_WORKS; k++) {
			uint64_t work = (i + k) % TREE_NR_WORKS;

			bench_check(tree_round(bench, (int)work, ITERATIONS,
					       &value),
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
	tree_bench_free(bench);
	free(ns);
	return 0;
}
