/* SPDX-License-Identifier: BSD-3-Clause */
/* test_stats.c -- every counter, gauge and reason has a name of its own */
#include "stats.h"

#include <string.h>

#include "fixture.h"

enum { NR = DAX_NR_STATS + DAX_NR_GAUGES };

static void names(void)
{
	for (size_t i = 0; i < NR; i++) {
		CHECK(stat_name(i) && *stat_name(i));
		if (!stat_name(i))
			continue;
		CHECK(!strcmp(stat_name(i), dax_stat_name(i)));
		for (size_t j = 0; j < i; j++)
			CHECK(strcmp(stat_name(i), stat_name(j)));
	}
	CHECK(!stat_name(NR) && !stat_name(NR + 1) && !stat_name(SIZE_MAX));
}

static void reasons(void)
{
	for (int i = 0; i < DAX_NR_FALLBACK_REASONS; i++) {
		const char *name = dax_fallback_reason_name(i);

		MUST(name && *name);
		/* The counter behind it is the one of the same name. */
		CHECK(!strncmp(stat_name(DAX_STAT_FALLBACK + (size_t)i), "fallback_", 9));
		CHECK(!strcmp(stat_name(DAX_STAT_FALLBACK + (size_t)i) + 9, name));
	}
	CHECK(!strcmp(dax_fallback_reason_name(DAX_FALLBACK_NONE), "none"));
	CHECK(!strcmp(dax_fallback_reason_name(DAX_FALLBACK_EOF), "eof"));
	CHECK(!dax_fallback_reason_name(-1));
	CHECK(!dax_fallback_reason_name(DAX_NR_FALLBACK_REASONS));
}

/* The names the rest of the world knows; a renamed one is a broken promise. */
static void well_known(void)
{
	CHECK(!strcmp(stat_name(DAX_STAT_PTE_FAULT), "pte_fault"));
	CHECK(!strcmp(stat_name(DAX_STAT_PMD_FAULT), "pmd_fault"));
	CHECK(!strcmp(stat_name(DAX_STAT_LOAD_HOLE), "load_hole"));
	CHECK(!strcmp(stat_name(DAX_STAT_INSERT_MAPPING), "insert_mapping"));
	CHECK(!strcmp(stat_name(DAX_STAT_ENTRY_DELETE), "entry_delete"));
	CHECK(!strcmp(stat_name(DAX_NR_STATS + DAX_GAUGE_NREXCEPTIONAL), "nrexceptional"));
	CHECK(!strcmp(stat_name(DAX_NR_STATS + DAX_GAUGE_TREE_BYTES), "tree_bytes"));
	CHECK(!strcmp(stat_name(NR - 1), "allocated_bytes"));
}

/* Values come in the order of the names, as many as there is room for. */
static void values(void)
{
	struct dax_device *dev = new_device(4 << 20);
	struct dax_mapping *mapping = new_file(dev, 1 << 20);
	struct dax_vma *vma = map_shared(mapping, 1 << 20);
	uint64_t value[NR + 1];

	EQ(load(vma, 0), 0);
	EQ(store(vma, PAGE, 1), 0);
	memset(value, 0xff, sizeof(value));
	EQ(dax_mapping_stats(mapping, value, 1), NR);
	EQ(value[DAX_STAT_PTE_FAULT], 2);
	CHECK(value[1] == UINT64_MAX);
	EQ(dax_mapping_stats(mapping, value, NR + 1), NR);
	CHECK(value[NR] == UINT64_MAX);
	EQ(value[DAX_STAT_LOAD_HOLE], 1);
	EQ(value[DAX_STAT_INSERT_MAPPING], 1);
	EQ(value[DAX_STAT_MAJOR_FAULT], 1);
	EQ(value[DAX_STAT_PMD_FAULT], 1);	/* 1 MiB: falls back, once */
	EQ(value[DAX_STAT_FALLBACK + DAX_FALLBACK_VMA_END], 1);
	EQ(value[DAX_STAT_ENTRY_INSERT], 2);
	EQ(value[DAX_NR_STATS + DAX_GAUGE_NREXCEPTIONAL], 2);
	EQ(value[DAX_NR_STATS + DAX_GAUGE_ALLOCATED_BYTES], PAGE);
	EQ(value[DAX_NR_STATS + DAX_GAUGE_PAGE_CACHE_BYTES], 0);
	EQ(dax_mapping_stats(mapping, NULL, 0), NR);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

int main(void)
{
	plan(4);
	run("each has a name, none twice", names);
	run("reasons and their counters have the same names", reasons);
	run("names others rely on", well_known);
	run("values stand where the names say", values);
	return done();
}
