/* SPDX-License-Identifier: BSD-3-Clause */
/* test_entry.c -- entry words: the vectors, the predicates, the round trip */
#include "entry.h"
#include "tap.h"

static dax_entry_t unlocked(dax_pfn_t pfn, unsigned int flags)
{
	return dax_from_slot(dax_unlock_word(dax_radix_locked_entry(pfn, flags)));
}

static dax_entry_t locked(dax_pfn_t pfn, unsigned int flags)
{
	return dax_from_slot(dax_radix_locked_entry(pfn, flags));
}

static void empty_vectors(void)
{
	EQ(locked(0, DAX_EMPTY), 0x26);
	EQ(unlocked(0, DAX_EMPTY), 0x22);
	EQ(locked(0, DAX_EMPTY | DAX_PMD), 0x2e);
}

static void zero_vectors(void)
{
	EQ(locked(0, DAX_ZERO_PAGE), 0x16);
	EQ(unlocked(0, DAX_ZERO_PAGE), 0x12);
	EQ(unlocked(0, DAX_ZERO_PAGE | DAX_PMD), 0x1a);
	EQ(locked(0, DAX_ZERO_PAGE | DAX_PMD), 0x1e);
}

static void data_vectors(void)
{
	EQ(unlocked(1, 0), 0x42);
	EQ(locked(1, 0), 0x46);
	EQ(unlocked(512, DAX_PMD), 0x800a);
	EQ(locked(512, DAX_PMD), 0x800e);
}

static void predicates(void)
{
	void *empty = dax_radix_locked_entry(0, DAX_EMPTY);
	void *zero = dax_radix_locked_entry(0, DAX_ZERO_PAGE | DAX_PMD);
	void *data = dax_unlock_word(dax_radix_locked_entry(7, 0));

	CHECK(dax_is_empty_entry(empty) && !dax_is_zero_entry(empty) &&
	      !dax_is_data_entry(empty) && dax_is_locked(empty));
	CHECK(dax_is_zero_entry(zero) && dax_is_pmd_entry(zero) &&
	      !dax_is_data_entry(zero) && !dax_is_empty_entry(zero));
	CHECK(dax_is_data_entry(data) && !dax_is_locked(data) &&
	      !dax_is_pmd_entry(data));
	EQ(dax_radix_order(zero), 9);
	EQ(dax_radix_order(data), 0);
	EQ(dax_from_slot(dax_lock_word(data)), 7 << 6 | 0x06);
}

static void round_trip(void)
{
	for (unsigned int bit = 0; bit < 58; bit++) {
		dax_pfn_t pfn = UINT64_C(1) << bit;

		CHECK(dax_radix_pfn(dax_radix_locked_entry(pfn, DAX_PMD)) == pfn);
		CHECK(dax_radix_pfn(dax_radix_locked_entry(pfn * 2 - 1, 0)) == pfn * 2 - 1);
	}
}

int main(void)
{
	plan(5);
	run("empty entries have the kernel's words", empty_vectors);
	run("zero entries have the kernel's words", zero_vectors);
	run("data entries carry a PFN", data_vectors);
	run("predicates tell the kinds apart", predicates);
	run("a PFN of 58 bits survives", round_trip);
	return done();
}
