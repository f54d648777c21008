/* SPDX-License-Identifier: BSD-3-Clause */
/* fixture.h -- devices, files and vmas made in one line, or the test ends */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <errno.h>
#include <string.h>

#include "daxcore.h"
#include "stats.h"
#include "tap.h"

#define PAGE	((int64_t)DAX_PAGE_SIZE)
#define PMD	((int64_t)DAX_PMD_SIZE)
#define RW	(DAX_VM_READ | DAX_VM_WRITE)

static inline struct dax_device *new_device(uint64_t size)
{
	struct dax_device *dev = NULL;

	MUST(!dax_device_memory(&dev, size));
	return dev;
}

static inline struct dax_mapping *new_file(struct dax_device *dev,
					   dax_loff_t size)
{
	struct dax_mapping_attr attr = { .struct_size = sizeof(attr), .size = size };
	struct dax_mapping *mapping = NULL;

	MUST(!dax_mapping_new(&mapping, dev, &attr));
	return mapping;
}

/* A file of the page-cache policy. */
static inline struct dax_mapping *
new_cached_file(struct dax_device *dev, dax_loff_t size, unsigned int pool)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr), .size = size,
		.policy = DAX_POLICY_PAGE_CACHE, .page_pool = pool,
	};
	struct dax_mapping *mapping = NULL;

	MUST(!dax_mapping_new(&mapping, dev, &attr));
	return mapping;
}

/* Map all of a file; @flags: RW or DAX_VM_READ, DAX_VM_SHARED or not. */
static inline struct dax_vma *map_pages(struct dax_mapping *mapping,
					uint64_t length, unsigned int flags,
					unsigned int pages)
{
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .length = length, .flags = flags,
		.pages = pages,
	};
	struct dax_vma *vma = NULL;

	MUST(!dax_vma_new(&vma, mapping, &attr));
	return vma;
}

static inline struct dax_vma *map_shared(struct dax_mapping *mapping,
					 uint64_t length)
{
	return map_pages(mapping, length, RW | DAX_VM_SHARED, DAX_PAGES_AUTO);
}

static inline struct dax_vma *map_private(struct dax_mapping *mapping,
					  uint64_t length)
{
	return map_pages(mapping, length, RW, DAX_PAGES_AUTO);
}

static inline uint64_t stat_of(struct dax_mapping *mapping, unsigned int i)
{
	uint64_t values[DAX_NR_STATS + DAX_NR_GAUGES];

	dax_mapping_stats(mapping, values, DAX_NR_STATS + DAX_NR_GAUGES);
	return values[i];
}

static inline uint64_t gauge_of(struct dax_mapping *mapping, enum dax_gauge i)
{
	return stat_of(mapping, DAX_NR_STATS + (unsigned int)i);
}

/* Entries with the DIRTY tag. */
static inline uint64_t nr_dirty(struct dax_mapping *mapping)
{
	struct dax_entry_info row;
	dax_pgoff_t index = 0;
	uint64_t nr = 0;

	while (dax_mapping_entries(mapping, &index, &row, 1) == 1)
		nr += row.dirty;
	return nr;
}

/* One byte by a load / a store / pread / pwrite; -1 if that failed. */
static inline int load(struct dax_vma *vma, uint64_t offset)
{
	unsigned char byte = 0;

	return dax_vma_read(vma, &byte, 1, offset, NULL) == 1 ? byte : -1;
}

static inline int store(struct dax_vma *vma, uint64_t offset, int value)
{
	unsigned char byte = (unsigned char)value;

	return dax_vma_write(vma, &byte, 1, offset, NULL) == 1 ? 0 : -1;
}

static inline int get(struct dax_mapping *mapping, dax_loff_t pos)
{
	unsigned char byte = 0;

	return dax_mapping_pread(mapping, &byte, 1, pos) == 1 ? byte : -1;
}

static inline int put(struct dax_mapping *mapping, dax_loff_t pos, int value)
{
	unsigned char byte = (unsigned char)value;

	return dax_mapping_pwrite(mapping, &byte, 1, pos) == 1 ? 0 : -1;
}

/* Write @len bytes of @value; what pwrite returned. */
static inline ssize_t fill(struct dax_mapping *mapping, dax_loff_t pos,
			   size_t len, int value)
{
	char *buf = malloc(len);
	ssize_t ret;

	MUST(buf);
	memset(buf, value, len);
	ret = dax_mapping_pwrite(mapping, buf, len, pos);
	free(buf);
	return ret;
}

/* Are all bytes of a range @value? */
static inline bool all_bytes(struct dax_mapping *mapping, dax_loff_t pos,
			     size_t len, int value)
{
	unsigned char *buf = malloc(len);
	bool same = true;

	MUST(buf);
	memset(buf, ~value, len);
	same = dax_mapping_pread(mapping, buf, len, pos) == (ssize_t)len;
	for (size_t i = 0; same && i < len; i++)
		same = buf[i] == (unsigned char)value;
	free(buf);
	return same;
}

/* A sequence of numbers that is the same on every run. */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Does the sentence behind the last failure contain @part? */
static inline bool errormsg_has(const char *part)
{
	return strstr(dax_errormsg(), part);
}

#endif
