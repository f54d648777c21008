/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * histogram.c -- log-linear histogram of latencies
 *
 * Owns: nothing; callers bring the memory.  Locks: none, one thread each.
 * Kernel: none; the shape is that of HdrHistogram.
 */
#include "histogram.h"

#include <string.h>

/* Index of the bucket of @value: exponent and the SUB_BITS bits below it. */
static size_t bucket_of(uint64_t value)
{
	unsigned int shift;

	if (value < (1u << HISTOGRAM_SUB_BITS))
		return value;
	shift = 63u - (unsigned int)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
	return ((size_t)(shift + 1) << HISTOGRAM_SUB_BITS) +
	       (value >> shift) - (1u << HISTOGRAM_SUB_BITS);
}

/* Largest value that falls into bucket @i. */
static uint64_t bucket_bound(size_t i)
{
	size_t exponent = i >> HISTOGRAM_SUB_BITS;
	uint64_t sub = i & ((1u << HISTOGRAM_SUB_BITS) - 1);

	if (exponent == 0)
		return sub;
	sub += 1u << HISTOGRAM_SUB_BITS;
	return ((sub + 1) << (exponent - 1)) - 1;
}

void histogram_init(struct dax_histogram *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

void histogram_add(struct dax_histogram *h, uint64_t value)
{
	h->total++;
	h->bucket[bucket_of(value)]++;
	if (value < h->min)
		h->min = value;
	if (value > h->max)
		h->max = value;
}

void histogram_merge(struct dax_histogram *to, const struct dax_histogram *from)
{
	for (size_t i = 0; i < HISTOGRAM_NR; i++)
		to->bucket[i] += from->bucket[i];
	to->total += from->total;
	if (from->min < to->min)
		to->min = from->min;
	if (from->max > to->max)
		to->max = from->max;
}

uint64_t histogram_percentile(const struct dax_histogram *h,
			      unsigned int permille)
{
	uint64_t wanted = (h->total * permille + 999) / 1000;
	uint64_t seen = 0;

	for (size_t i = 0; i < HISTOGRAM_NR; i++) {
		seen += h->bucket[i];
		if (seen && seen >= wanted)
			return bucket_bound(i) < h->max ? bucket_bound(i)
							: h->max;
	}
	return 0;
}
