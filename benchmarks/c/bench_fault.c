/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_fault.c -- whole soft faults of hole pages beside the bare floor
 *
 * Every round runs the floor and each way of the library once, in rotated
 * order, on fresh files; sequential, then in random order.  Prints one JSON
 * object: medians in ns per 4 KiB page, and their ratios to the floor.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "fault_rounds.h"

enum { WARM_UP = 1, SEED = 1 };

struct series {
	double *ns;	/* per page, one value per round */
	struct round_result last;
};

static void one(struct dax_device *dev, const struct round *round,
		struct series *series, int64_t nr)
{
	bench_check(bench_round(dev, round, &series->last),
		    bench_contender_name(round->contender));
	if (nr >= 0)
		series->ns[nr] = (double)series->last.ns /
				 (double)round->nr_pages;
}

/* Rotated, and backwards every other round: nobody always follows the same. */
static int turn(uint64_t i, uint64_t k)
{
	uint64_t step = i % 2 ? BENCH_NR_CONTENDERS - 1 - k : k;

	return (int)((i + step) % BENCH_NR_CONTENDERS);
}

static void all_rounds(struct dax_device *dev, struct round *round,
		       struct series *series, uint64_t rounds)
{
	for (uint64_t i = 0; i < rounds + WARM_UP; i++) {
		for (uint64_t k = 0; k < BENCH_NR_CONTENDERS; k++) {
			round->contender = turn(i, k);
			one(dev, round, &series[round->contender],
			    (int64_t)i - WARM_UP);
		}
	}
}

static void print_series(const char *name, struct series *series, double ns,
			 double floor_ns, bool last)
{
	printf("      \"%s\": {\"ns_per_page\": %.4f, \"of_floor\": %.3f, "
	       "\"faults\": %lu, \"tree_bytes\": %lu, "
	       "\"page_table_bytes\": %lu, \"page_cache_bytes\": %lu}%s\n",
	       name, ns, ns / floor_ns, series->last.faults,
	       series->last.tree_bytes, series->last.page_table_bytes,
	       series->last.page_cache_bytes, last ? "" : ",");
}

static void run_order(struct dax_device *dev, const uint64_t *order,
		      uint64_t pages, uint64_t rounds)
{
	struct round round = { .nr_pages = pages, .order = order };
	struct series series[BENCH_NR_CONTENDERS] = { 0 };
	double ns[BENCH_NR_CONTENDERS];

	for (int k = 0; k < BENCH_NR_CONTENDERS; k++)
		series[k].ns = calloc(rounds, sizeof(double));
	all_rounds(dev, &round, series, rounds);
	for (int k = 0; k < BENCH_NR_CONTENDERS; k++)
		ns[k] = bench_median(series[k].ns, rounds);
	for (int k = 0; k < BENCH_NR_CONTENDERS; k++) {
		print_series(bench_contender_name(k), &series[k], ns[k],
			     ns[BENCH_FLOOR], k == BENCH_NR_CONTENDERS - 1);
		free(series[k].ns);
	}
}

int main(int argc, char **argv)
{
	uint64_t pages = bench_option(argc, argv, "pages", 262144);
	uint64_t rounds = bench_option(argc, argv, "rounds", 7);
	uint64_t *order = malloc(pages * sizeof(*order));
	struct dax_device *dev;

	if (!order || pages % DAX_PMD_NR_PAGES) {
		fprintf(stderr, "--pages: a multiple of 512 that fits memory\n");
		return 2;
	}
	bench_shuffle(order, pages, SEED);
	bench_check(dax_device_memory(&dev, DAX_PMD_SIZE), "device");
	printf("{\n  \"pages\": %lu,\n  \"rounds\": %lu,\n  \"order\": {\n",
	       pages, rounds);
	printf("    \"seq\": {\n");
	run_order(dev, NULL, pages, rounds);
	printf("    },\n    \"random\": {\n");
	run_order(dev, order, pages, rounds);
	printf("    }\n  }\n}\n");
	dax_device_put(dev);
	free(order);
	return 0;
}
