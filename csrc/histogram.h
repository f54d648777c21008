/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * histogram.h -- log-linear histogram of latencies
 *
 * Values below 2^SUB_BITS have a bucket each; above, every power of two is
 * divided into 2^SUB_BITS equal buckets, so that a percentile is off by at
 * most 1/32 of its value.
 */
#ifndef DAXCORE_HISTOGRAM_H
#define DAXCORE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_SUB_BITS = 5, HISTOGRAM_NR = (64 - 5 + 1) << 5 };

struct dax_histogram {
	uint64_t total;
	uint64_t min;
	uint64_t max;
	uint64_t bucket[HISTOGRAM_NR];
};

void histogram_init(struct dax_histogram *h);
void histogram_add(struct dax_histogram *h, uint64_t value);

/* Add the counts of @from to @to. */
void histogram_merge(struct dax_histogram *to,
		     const struct dax_histogram *from);

/* Smallest bucket bound that @permille of 1000 values do not exceed, cut to
 * the largest value seen; 0 when empty. */
uint64_t histogram_percentile(const struct dax_histogram *h,
			      unsigned int permille);

#endif
