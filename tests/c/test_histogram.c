/* SPDX-License-Identifier: BSD-3-Clause */
/* test_histogram.c -- percentiles are off by at most 1/32 */
#include "histogram.h"

#include <string.h>

#include "tap.h"

static struct dax_histogram h, other;

/* Median of one value; two larger ones keep the cut at the maximum away. */
static uint64_t bound_of(uint64_t value)
{
	histogram_init(&h);
	histogram_add(&h, value);
	histogram_add(&h, UINT64_MAX);
	return histogram_percentile(&h, 500);
}

static void empty(void)
{
	histogram_init(&h);
	EQ(h.total, 0);
	for (unsigned int permille = 0; permille <= 1000; permille += 250)
		EQ(histogram_percentile(&h, permille), 0);
}

static void small_values_exact(void)
{
	for (uint64_t v = 0; v < 64; v++)
		EQ(bound_of(v), v);
}

/* The bound is not below the value and not more than 1/32 above it. */
static void precision(void)
{
	for (unsigned int bit = 0; bit < 64; bit++) {
		uint64_t base = UINT64_C(1) << bit;
		uint64_t values[] = { base - 1, base, base + 1, base + base / 3,
				      base + (base - 1) };

		for (int i = 0; i < 5; i++) {
			uint64_t bound = bound_of(values[i]);

			CHECK(bound >= values[i]);
			CHECK(bound - values[i] <= values[i] / 32);
		}
	}
	CHECK(bound_of(UINT64_MAX) == UINT64_MAX);
}

static void percentiles(void)
{
	histogram_init(&h);
	for (uint64_t v = 1; v <= 1000; v++)
		histogram_add(&h, v);
	EQ(h.total, 1000);
	EQ(h.min, 1);
	EQ(h.max, 1000);
	for (unsigned int permille = 1; permille <= 1000; permille++) {
		uint64_t p = histogram_percentile(&h, permille);

		CHECK(p >= permille && p <= permille + permille / 32);
	}
	EQ(histogram_percentile(&h, 1000), 1000);	/* cut to the largest */
	EQ(histogram_percentile(&h, 0), 1);
}

static void few_slow_ones(void)
{
	histogram_init(&h);
	for (int i = 0; i < 999; i++)
		histogram_add(&h, 20);
	histogram_add(&h, 1000000);
	EQ(histogram_percentile(&h, 500), 20);
	EQ(histogram_percentile(&h, 999), 20);
	EQ(histogram_percentile(&h, 1000), 1000000);
}

static void merge(void)
{
	histogram_init(&h);
	histogram_init(&other);
	histogram_merge(&h, &other);
	EQ(histogram_percentile(&h, 500), 0);
	for (uint64_t v = 1; v <= 500; v++)
		histogram_add(&h, v);
	for (uint64_t v = 501; v <= 1000; v++)
		histogram_add(&other, v);
	histogram_merge(&h, &other);
	histogram_init(&other);
	histogram_merge(&h, &other);	/* nothing: min and max stay */
	EQ(h.total, 1000);
	EQ(h.min, 1);
	EQ(h.max, 1000);
	for (uint64_t v = 1; v <= 1000; v++)
		histogram_add(&other, v);
	CHECK(!memcmp(&h, &other, sizeof(h)));
}

int main(void)
{
	plan(6);
	run("nothing in it", empty);
	run("values below 64 have their own bucket", small_values_exact);
	run("a bound is at most 1/32 too large, up to 2^64-1", precision);
	run("percentiles of 1 to 1000", percentiles);
	run("one slow value in a thousand", few_slow_ones);
	run("merging is adding", merge);
	return done();
}
