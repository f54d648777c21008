/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rw_rounds.c -- reads and writes through the block map, or a bare memcpy()
 *
 * Owns: one file and one buffer per bench.
 */
#define _GNU_SOURCE
#include "rw_rounds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys.h"

struct rw_bench {
	struct dax_mapping *mapping;
	uint64_t window;
	dax_loff_t hole;	/* where bytes without blocks begin */
	char *kaddr;		/* of the window */
	char *buf;
	int fd;
};

static int find_window(struct rw_bench *bench, struct dax_device *dev)
{
	struct dax_extent row;
	dax_loff_t pos = 0;
	void *kaddr;
	int64_t ret = dax_mapping_extents(bench->mapping, &pos, &row, 1);

	if (ret != 1 || row.length < bench->window)
		return ret < 0 ? (int)ret : -EIO;
	ret = dax_direct_access(dev, row.device_offset / DAX_PAGE_SIZE,
				bench->window / DAX_PAGE_SIZE, &kaddr, NULL);
	bench->kaddr = kaddr;
	return ret < 0 ? (int)ret : 0;
}

static int bench_setup(struct rw_bench *bench, struct dax_device *dev)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr), .size = (dax_loff_t)(2 * bench->window),
	};
	ssize_t n;
	int ret = dax_mapping_new(&bench->mapping, dev, &attr);

	if (ret)
		return ret;
	n = dax_mapping_pwrite(bench->mapping, bench->buf, bench->window, 0);
	if (n < 0)
		return (int)n;
	n = bench->fd < 0 ? 0 : pwrite(bench->fd, bench->buf, bench->window, 0);
	return n < 0 ? -EIO : find_window(bench, dev);
}

static struct rw_bench *bench_alloc(uint64_t window, int fd)
{
	struct rw_bench *bench = calloc(1, sizeof(*bench));

	if (!bench)
		return NULL;
	bench->window = window;
	bench->fd = fd;
	bench->buf = aligned_alloc(DAX_PAGE_SIZE, window);
	if (bench->buf)
		memset(bench->buf, 1, window);
	return bench;
}

int rw_bench_new(struct rw_bench **ret_bench, struct dax_device *dev,
		 uint64_t window, int fd)
{
	struct rw_bench *bench = bench_alloc(window, fd);
	int ret = -ENOMEM;

	if (!bench)
		return ret;
	bench->hole = (dax_loff_t)window;
	if (bench->buf)
		ret = bench_setup(bench, dev);
	if (ret)
		rw_bench_free(bench);
	else
		*ret_bench = bench;
	return ret;
}

void rw_bench_free(struct rw_bench *bench)
{
	if (bench->mapping)
		dax_mapping_put(bench->mapping);
	free(bench->buf);
	free(bench);
}

/* One piece; what the call returned. */
static int64_t piece_of(struct rw_bench *bench, int work, uint64_t at, size_t n)
{
	dax_loff_t pos = (dax_loff_t)at;
	char *buf = bench->buf + at;

	switch (work) {
	case RW_MEMCPY_IN:
		memcpy(bench->kaddr + at, buf, n);
		return (int64_t)n;
	case RW_PWRITE:
		return dax_mapping_pwrite(bench->mapping, buf, n, pos);
	case RW_OS_PWRITE:
		return pwrite(bench->fd, buf, n, pos);
	case RW_MEMCPY_OUT:
		memcpy(buf, bench->kaddr + at, n);
		return (int64_t)n;
	case RW_PREAD:
		return dax_mapping_pread(bench->mapping, buf, n, pos);
	case RW_OS_PREAD:
		return pread(bench->fd, buf, n, pos);
	case RW_MEMSET:
		memset(buf, 0, n);
		return (int64_t)n;
	default:
		return dax_mapping_pread(bench->mapping, buf, n, bench->hole + pos);
	}
}

int64_t rw_round(struct rw_bench *bench, int work, uint64_t piece,
		 uint64_t passes)
{
	uint64_t start = sys_clock_ns();

	for (uint64_t i = 0; i < passes; i++)
		for (uint64_t at = 0; at < bench->window; at += piece)
			if (piece_of(bench, work, at, piece) != (int64_t)piece)
				return -EIO;
	return (int64_t)(sys_clock_ns() - start);
}
