/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * writeback_rounds.c -- writeback of scattered dirty pages, or the bare loop
 *
 * Owns: one device, one file and one mapping per bench.
 */
#include "writeback_rounds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "flush.h"
#include "sys.h"

struct writeback_bench {
	struct dax_device *dev;
	struct dax_mapping *mapping;
	struct dax_vma *vma;
	uint64_t entries;
	uint64_t dirty;
	char **kaddr;		/* of each dirty page */
	char page[DAX_PAGE_SIZE];
};

static uint64_t page_of(const struct writeback_bench *bench, uint64_t i)
{
	return i * (bench->entries / bench->dirty);
}

static int store_all(struct writeback_bench *bench)
{
	memset(bench->page, bench->page[0] + 1, sizeof(bench->page));
	for (uint64_t i = 0; i < bench->dirty; i++) {
		ssize_t ret = dax_vma_write(bench->vma, bench->page, DAX_PAGE_SIZE,
					    page_of(bench, i) * DAX_PAGE_SIZE, NULL);

		if (ret < 0)
			return (int)ret;
	}
	return 0;
}

static int find_addresses(struct writeback_bench *bench)
{
	struct dax_extent row;
	void *kaddr;

	bench->kaddr = calloc(bench->dirty, sizeof(*bench->kaddr));
	if (!bench->kaddr)
		return -ENOMEM;
	for (uint64_t i = 0; i < bench->dirty; i++) {
		dax_loff_t pos = (dax_loff_t)(page_of(bench, i) * DAX_PAGE_SIZE);
		int64_t ret = dax_mapping_extents(bench->mapping, &pos, &row, 1);

		if (ret == 1)
			ret = dax_direct_access(bench->dev,
						row.device_offset / DAX_PAGE_SIZE, 1,
						&kaddr, NULL);
		if (ret != 1)
			return ret < 0 ? (int)ret : -EIO;
		bench->kaddr[i] = kaddr;
	}
	return 0;
}

static int bench_setup(struct writeback_bench *bench)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr),
		.size = (dax_loff_t)(bench->entries * DAX_PAGE_SIZE),
	};
	struct dax_vma_attr vma_attr = {
		.struct_size = sizeof(vma_attr),
		.length = bench->entries * DAX_PAGE_SIZE,
		.flags = DAX_VM_READ | DAX_VM_WRITE | DAX_VM_SHARED,
		.pages = DAX_PAGES_PTE,
	};
	int64_t ret;

	ret = dax_device_emulate_pmem(&bench->dev, (bench->dirty + 512) * DAX_PAGE_SIZE);
	if (!ret)
		ret = dax_mapping_new(&bench->mapping, bench->dev, &attr);
	if (!ret)
		ret = dax_vma_new(&bench->vma, bench->mapping, &vma_attr);
	if (!ret)
		ret = dax_vma_fault_range(bench->vma, 0, bench->entries, 0, NULL, 0,
					  NULL);
	if (ret >= 0)
		ret = store_all(bench);
	if (!ret)
		ret = dax_mapping_fsync(bench->mapping, NULL);
	return ret ? (int)ret : find_addresses(bench);
}

int writeback_bench_new(struct writeback_bench **ret_bench, uint64_t entries,
			uint64_t dirty)
{
	struct writeback_bench *bench = calloc(1, sizeof(*bench));
	int ret;

	if (!bench)
		return -ENOMEM;
	bench->entries = entries;
	bench->dirty = dirty;
	ret = bench_setup(bench);
	if (ret)
		writeback_bench_free(bench);
	else
		*ret_bench = bench;
	return ret;
}

void writeback_bench_free(struct writeback_bench *bench)
{
	if (bench->vma)
		dax_vma_put(bench->vma);
	if (bench->mapping)
		dax_mapping_put(bench->mapping);
	if (bench->dev)
		dax_device_put(bench->dev);
	free(bench->kaddr);
	free(bench);
}

static void bare_loop(const struct writeback_bench *bench)
{
	const struct flush_ops *ops = flush_select();

	for (uint64_t i = 0; i < bench->dirty; i++)
		ops->flush(bench->kaddr[i], DAX_PAGE_SIZE);
	ops->fence();
}

int64_t writeback_round(struct writeback_bench *bench, int bare)
{
	uint64_t start, ns;
	int ret = store_all(bench);

	if (ret)
		return ret;
	start = sys_clock_ns();
	if (bare)
		bare_loop(bench);
	else
		ret = dax_mapping_fsync(bench->mapping, NULL);
	ns = sys_clock_ns() - start;
	if (bare)	/* so that the next round begins with clean entries */
		ret = dax_mapping_fsync(bench->mapping, NULL);
	return ret ? ret : (int64_t)ns;
}

uint64_t writeback_bench_stat(struct writeback_bench *bench, const char *name)
{
	uint64_t values[256];
	size_t nr = dax_mapping_stats(bench->mapping, values, 256);

	for (size_t i = 0; i < nr && i < 256; i++)
		if (!strcmp(dax_stat_name(i), name))
			return values[i];
	return 0;
}
