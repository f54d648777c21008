/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault_rounds.c -- one timed round of faults, by the floor or the library
 *
 * Owns: nothing between rounds.
 */
#include "fault_rounds.h"

#include <errno.h>
#include <string.h>

#include "floor.h"
#include "sys.h"

struct kind {
	const char *name;
	unsigned int policy;
	unsigned int pool;
	unsigned int pages;
};

static const struct kind kinds[BENCH_NR_CONTENDERS] = {
	[BENCH_FLOOR] = { .name = "floor" },
	[BENCH_ZERO_PAGE] = { "zero-page", DAX_POLICY_ZERO_PAGE,
			      DAX_PAGE_POOL_COLD, DAX_PAGES_PTE },
	[BENCH_ZERO_PAGE_PMD] = { "zero-page 2 MiB", DAX_POLICY_ZERO_PAGE,
				  DAX_PAGE_POOL_COLD, DAX_PAGES_PMD },
	[BENCH_PAGE_CACHE_WARM] = { "page-cache warm", DAX_POLICY_PAGE_CACHE,
				    DAX_PAGE_POOL_WARM, DAX_PAGES_PTE },
	[BENCH_PAGE_CACHE_COLD] = { "page-cache cold", DAX_POLICY_PAGE_CACHE,
				    DAX_PAGE_POOL_COLD, DAX_PAGES_PTE },
};

const char *bench_contender_name(int contender)
{
	if (contender < 0 || contender >= BENCH_NR_CONTENDERS)
		return NULL;
	return kinds[contender].name;
}

static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void bench_shuffle(uint64_t *order, uint64_t nr, uint64_t seed)
{
	for (uint64_t i = 0; i < nr; i++)
		order[i] = i;
	for (uint64_t i = nr; i > 1; i--) {
		uint64_t j = splitmix(&seed) % i, tmp = order[j];

		order[j] = order[i - 1];
		order[i - 1] = tmp;
	}
}

static int floor_round(const struct round *round, struct round_result *result)
{
	struct floor *fl;
	int ret = floor_new(&fl, round->nr_pages);

	if (ret)
		return ret;
	result->ns = sys_clock_ns();
	if (round->order)
		ret = floor_fault_many(fl, round->order, round->nr_pages);
	else
		ret = floor_fault_range(fl, 0, round->nr_pages);
	result->ns = sys_clock_ns() - result->ns;
	floor_free(fl);
	return ret;
}

static int64_t touch(struct dax_vma *vma, const struct round *round, int write)
{
	if (round->order)
		return dax_vma_fault_many(vma, round->order, round->nr_pages,
					  write, NULL, 0, NULL);
	return dax_vma_fault_range(vma, 0, round->nr_pages, write, NULL, 0,
				   NULL);
}

/* What goes before the timed access; number of faults or -errno. */
static int64_t prepare(struct dax_vma *vma, const struct round *round)
{
	int64_t faults;
	int ret = 0;

	if (round->scenario != BENCH_READ_THEN_WRITE &&
	    round->scenario != BENCH_REFAULT)
		return 0;
	faults = touch(vma, round, 0);
	if (faults >= 0 && round->scenario == BENCH_REFAULT)
		ret = dax_vma_dontneed(vma, 0, dax_vma_length(vma));
	return ret ? ret : faults;
}

static int timed_touch(struct dax_vma *vma, const struct round *round,
		       struct round_result *result)
{
	int write = round->scenario == BENCH_FIRST_WRITE ||
		    round->scenario == BENCH_READ_THEN_WRITE;
	int64_t before, faults;

	before = prepare(vma, round);
	if (before < 0)
		return (int)before;
	result->ns = sys_clock_ns();
	faults = touch(vma, round, write);
	result->ns = sys_clock_ns() - result->ns;
	if (faults < 0)
		return (int)faults;
	result->faults = (uint64_t)faults;
	result->all_faults = (uint64_t)(before + faults);
	return 0;
}

static uint64_t stat_value(struct dax_mapping *mapping, const char *name)
{
	uint64_t values[256];
	size_t nr = dax_mapping_stats(mapping, values, 256);

	for (size_t i = 0; i < nr && i < 256; i++)
		if (!strcmp(dax_stat_name(i), name))
			return values[i];
	return 0;
}

static void take_bytes(struct dax_mapping *mapping, struct round_result *result)
{
	result->tree_bytes = stat_value(mapping, "tree_bytes");
	result->page_table_bytes = stat_value(mapping, "page_table_bytes");
	result->page_cache_bytes = stat_value(mapping, "page_cache_bytes");
}

static int mapped_round(struct dax_mapping *mapping, const struct round *round,
			struct round_result *result)
{
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr),
		.length = round->nr_pages * DAX_PAGE_SIZE,
		.flags = DAX_VM_READ | DAX_VM_WRITE | DAX_VM_SHARED,
		.pages = kinds[round->contender].pages,
	};
	struct dax_vma *vma;
	int ret = dax_vma_new(&vma, mapping, &attr);

	if (ret)
		return ret;
	ret = timed_touch(vma, round, result);
	if (!ret)
		take_bytes(mapping, result);
	dax_vma_put(vma);
	return ret;
}

static int soft_round(struct dax_device *dev, const struct round *round,
		      struct round_result *result)
{
	const struct kind *kind = &kinds[round->contender];
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr),
		.size = (dax_loff_t)(round->nr_pages * DAX_PAGE_SIZE),
		.policy = kind->policy,
		.page_pool = kind->pool,
	};
	struct dax_mapping *mapping;
	int ret = dax_mapping_new(&mapping, dev, &attr);

	if (ret)
		return ret;
	ret = mapped_round(mapping, round, result);
	dax_mapping_put(mapping);
	return ret;
}

int bench_round(struct dax_device *dev, const struct round *round,
		struct round_result *ret_result)
{
	struct round_result result = { 0 };
	int ret;

	if (!bench_contender_name(round->contender) || !round->nr_pages)
		return -EINVAL;
	if (round->contender == BENCH_FLOOR)
		ret = floor_round(round, &result);
	else
		ret = soft_round(dev, round, &result);
	if (!ret)
		*ret_result = result;
	return ret;
}

int bench_hole_begin(struct dax_mapping *mapping, void *private_data,
		     dax_loff_t pos, uint64_t length, unsigned int flags,
		     struct dax_iomap *iomap)
{
	(void)mapping;
	(void)private_data;
	(void)pos;
	(void)length;
	(void)flags;
	iomap->type = DAX_IOMAP_HOLE;
	iomap->offset = 0;
	iomap->length = INT64_MAX;
	return 0;
}
