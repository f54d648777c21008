/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * real_rounds.c -- memory with addresses, touched page by page
 *
 * Owns: nothing between rounds.
 */
#define _GNU_SOURCE
#include "real_rounds.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "real_touch.h"
#include "sys.h"

void real_load_pages(const char *start, uint64_t nr_pages)
{
	real_load(start, nr_pages, NULL);
}

static void touch(char *start, const struct real_round *round,
		  struct real_result *result)
{
	if (round->load_before)
		real_load(start, round->nr_pages, round->order);
	result->touch_ns = sys_clock_ns();
	if (round->write)
		real_store(start, round->nr_pages, round->order);
	else
		real_load(start, round->nr_pages, round->order);
	result->again_ns = sys_clock_ns();
	result->touch_ns = result->again_ns - result->touch_ns;
	real_load(start, round->nr_pages, round->order);
	result->again_ns = sys_clock_ns() - result->again_ns;
}

/* ---- the kernel's ------------------------------------------------------------ */

/* Aligned to 2 MiB, or the first and last of them would be small pages. */
static int anonymous_round(const struct real_round *round, struct real_result *result)
{
	size_t size = round->nr_pages * DAX_PAGE_SIZE, room = size + DAX_PMD_SIZE;
	int advice = round->owner == REAL_ANONYMOUS ? MADV_NOHUGEPAGE : MADV_HUGEPAGE;
	uint64_t start = sys_clock_ns();
	uintptr_t at;
	char *base = mmap(NULL, room, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return -errno;
	at = ((uintptr_t)base + DAX_PMD_SIZE - 1) & ~(uintptr_t)(DAX_PMD_SIZE - 1);
	if (madvise((void *)at, size, advice)) {
		munmap(base, room);
		return -ENOTSUP;
	}
	result->map_ns = sys_clock_ns() - start;
	touch((char *)at, round, result);
	munmap(base, room);
	return 0;
}

static int file_round(const struct real_round *round, struct real_result *result)
{
	size_t size = round->nr_pages * DAX_PAGE_SIZE;
	uint64_t start;
	char *base;

	if (ftruncate(round->fd, (off_t)size))
		return -errno;
	start = sys_clock_ns();
	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, round->fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	result->map_ns = sys_clock_ns() - start;
	touch(base, round, result);
	munmap(base, size);
	return ftruncate(round->fd, 0) ? -errno : 0;
}

/* ---- the engine's ------------------------------------------------------------- */

static int mapped_round(struct dax_mapping *mapping, const struct real_round *round,
			struct real_result *result)
{
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr),
		.length = round->nr_pages * DAX_PAGE_SIZE,
		.flags = round->flags, .pages = round->pages,
		.backend = DAX_BACKEND_REAL, .delivery = round->delivery,
		.fault_around = round->fault_around,
	};
	uint64_t start = sys_clock_ns();
	struct dax_vma *vma;
	int ret = dax_vma_new(&vma, mapping, &attr);

	if (ret)
		return ret;
	result->map_ns = sys_clock_ns() - start;
	touch(dax_vma_address(vma), round, result);
	dax_vma_put(vma);
	return 0;
}

static int engine_round(struct dax_device *dev, const struct real_round *round,
			struct real_result *result)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr),
		.size = (dax_loff_t)(round->nr_pages * DAX_PAGE_SIZE),
	};
	struct dax_mapping *mapping;
	int ret = dax_mapping_new(&mapping, dev, &attr);

	if (ret)
		return ret;
	ret = mapped_round(mapping, round, result);
	dax_mapping_put(mapping);
	return ret;
}

/* Fresh before, empty after. */
static int sparse_round(const struct real_round *round, struct real_result *result)
{
	dax_loff_t size = (dax_loff_t)(round->nr_pages * DAX_PAGE_SIZE);
	struct dax_mapping *mapping;
	int ret = dax_mapping_open(&mapping, round->path, size, DAX_OPEN_TRUNCATE);

	if (ret)
		return ret;
	ret = mapped_round(mapping, round, result);
	if (!ret)
		ret = dax_mapping_truncate(mapping, 0);
	dax_mapping_put(mapping);
	return ret;
}

int real_round(struct dax_device *dev, const struct real_round *round,
	       struct real_result *ret_result)
{
	struct real_result result = { 0 };
	int ret = -EINVAL;

	if (!round->nr_pages)
		return ret;
	if (round->owner == REAL_ENGINE)
		ret = engine_round(dev, round, &result);
	else if (round->owner == REAL_SPARSE)
		ret = sparse_round(round, &result);
	else if (round->owner == REAL_FILE)
		ret = file_round(round, &result);
	else if (round->owner < REAL_NR_OWNERS)
		ret = anonymous_round(round, &result);
	if (!ret)
		*ret_result = result;
	return ret;
}
