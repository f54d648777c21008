/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault_rounds.h -- one timed round of faults, by the floor or the library
 *
 * A round makes a fresh file and mapping, times the loop alone, and takes
 * everything down again.  Also built as a shared object for Python, which
 * then times its own calls against the same loops.
 */
#ifndef FAULT_ROUNDS_H
#define FAULT_ROUNDS_H

#include "daxcore.h"

/* Who does the faults. */
enum contender {
	BENCH_FLOOR,
	BENCH_ZERO_PAGE,
	BENCH_ZERO_PAGE_PMD,
	BENCH_PAGE_CACHE_WARM,
	BENCH_PAGE_CACHE_COLD,
	BENCH_NR_CONTENDERS
};

/* What is done; the last access is the one that is timed. */
enum scenario {
	BENCH_HOLE_READ,
	BENCH_FIRST_WRITE,
	BENCH_READ_THEN_WRITE,
	BENCH_REFAULT
};

struct round {
	int contender;		/* enum contender */
	int scenario;		/* enum scenario; the floor knows HOLE_READ */
	uint64_t nr_pages;	/* 4 KiB pages, > 0 */
	const uint64_t *order;	/* all pages in random order; NULL: in sequence */
};

struct round_result {
	uint64_t ns;		/* of the timed loop */
	uint64_t faults;	/* taken in the timed loop; 0 for the floor */
	uint64_t all_faults;	/* preparation included */
	uint64_t tree_bytes;
	uint64_t page_table_bytes;
	uint64_t page_cache_bytes;
};

/* @dev: at least @round->nr_pages of 4 KiB if blocks are needed; unused by
 * the floor.  0 or -errno. */
DAX_API int bench_round(struct dax_device *dev, const struct round *round,
			struct round_result *ret_result);

/* "zero-page", ...; NULL past the last. */
DAX_API const char *bench_contender_name(int contender);

/* Fill @order with a permutation of 0..nr-1; the same for the same @seed. */
DAX_API void bench_shuffle(uint64_t *order, uint64_t nr, uint64_t seed);

/* iomap_begin of a block map that is one hole. */
DAX_API int bench_hole_begin(struct dax_mapping *mapping, void *private_data,
			     dax_loff_t pos, uint64_t length, unsigned int flags,
			     struct dax_iomap *iomap);

#endif
