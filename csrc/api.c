/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * api.c -- the calls of daxcore.h
 *
 * Owns: nothing; each call checks what the public contract adds and goes
 *       down.
 * Locks: none of its own.
 */
#include "daxcore.h"

#include <errno.h>

#include "bounce.h"
#include "clone.h"
#include "collect.h"
#include "errormsg.h"
#include "extent_map.h"
#include "extent_table.h"
#include "fault.h"
#include "freeze.h"
#include "invalidate.h"
#include "layout.h"
#include "lock_entry.h"
#include "page_cache.h"
#include "pin.h"
#include "persist_record.h"
#include "rw.h"
#include "sparse_file.h"
#include "trace.h"
#include "vma_real.h"
#include "vma_soft.h"
#include "writeback.h"

const char *dax_errormsg(void)
{
	return errormsg();
}

/* ---- devices ---------------------------------------------------------------- */

int dax_device_open(struct dax_device **ret_dev, const char *path,
		    uint64_t size, unsigned int flags)
{
	clear_errormsg();
	return device_open(ret_dev, path, size, flags);
}

int dax_device_memory(struct dax_device **ret_dev, uint64_t size)
{
	clear_errormsg();
	return device_memory(ret_dev, size);
}

int dax_device_emulate_pmem(struct dax_device **ret_dev, uint64_t size)
{
	clear_errormsg();
	return device_emulate_pmem(ret_dev, size);
}

int dax_device_record(struct dax_device **ret_dev, uint64_t size)
{
	clear_errormsg();
	return device_record(ret_dev, size);
}

void dax_device_get(struct dax_device *dev)
{
	device_get(dev);
}

void dax_device_put(struct dax_device *dev)
{
	device_put(dev);
}

int dax_device_kill(struct dax_device *dev)
{
	clear_errormsg();
	return device_kill(dev);
}

uint64_t dax_device_size(const struct dax_device *dev)
{
	return dev->size;
}

uint64_t dax_device_free_bytes(struct dax_device *dev)
{
	return dev->readonly ? 0 : READ_ONCE(dev->blocks.nr_free) << DAX_PAGE_SHIFT;
}

uint64_t dax_device_alignment(const struct dax_device *dev)
{
	return dev->alignment;
}

const char *dax_device_path(const struct dax_device *dev)
{
	return dev->path;
}

int dax_device_alive(const struct dax_device *dev)
{
	return READ_ONCE(dev->alive);
}

int dax_device_readonly(const struct dax_device *dev)
{
	return dev->readonly;
}

const char *dax_device_durability(const struct dax_device *dev)
{
	return dev->durability;
}

unsigned int dax_device_nr_files(const struct dax_device *dev)
{
	return READ_ONCE(dev->nr_files);
}

int64_t dax_direct_access(struct dax_device *dev, dax_pgoff_t pgoff,
			  uint64_t nr_pages, void **ret_kaddr,
			  dax_pfn_t *ret_pfn)
{
	clear_errormsg();
	return direct_access(dev, pgoff, nr_pages, ret_kaddr, ret_pfn);
}

int dax_device_load(struct dax_device *dev, uint64_t offset, void *buf,
		    size_t len)
{
	clear_errormsg();
	return device_load(dev, offset, buf, len);
}

int dax_device_store(struct dax_device *dev, uint64_t offset, const void *buf,
		     size_t len)
{
	clear_errormsg();
	return device_store(dev, offset, buf, len);
}

int dax_device_flush(struct dax_device *dev, uint64_t offset, uint64_t len)
{
	clear_errormsg();
	return device_flush(dev, offset, len);
}

int dax_device_fence(struct dax_device *dev)
{
	clear_errormsg();
	return device_fence(dev);
}

int dax_device_sync(struct dax_device *dev)
{
	clear_errormsg();
	return device_sync(dev);
}

int64_t dax_device_log_length(struct dax_device *dev)
{
	clear_errormsg();
	return record_log_length(dev);
}

int64_t dax_device_log(struct dax_device *dev, uint64_t first,
		       struct dax_record *buf, size_t nr)
{
	clear_errormsg();
	return record_log_read(dev, first, buf, nr);
}

int64_t dax_device_log_data(struct dax_device *dev, uint64_t data, void *buf,
			    size_t len)
{
	clear_errormsg();
	return record_log_data(dev, data, buf, len);
}

int dax_device_log_reset(struct dax_device *dev)
{
	clear_errormsg();
	return record_log_reset(dev);
}

/* ---- mappings ------------------------------------------------------------------- */

static const struct dax_policy *const policies[] = {
	[DAX_POLICY_ZERO_PAGE] = &zero_page_policy,
	[DAX_POLICY_PAGE_CACHE] = &page_cache_policy,
};

static int new_with_ops(struct dax_mapping **ret_mapping, struct dax_device *dev,
			const struct dax_mapping_attr *attr,
			const struct dax_iomap_ops *ops, void *private_data)
{
	struct dax_mapping_attr own = *attr;

	own.ops = ops;
	own.private_data = private_data;
	return mapping_new(ret_mapping, dev, &own, policies[attr->policy]);
}

/* A file over the built-in block map. */
static int new_with_extent_map(struct dax_mapping **ret_mapping,
			       struct dax_device *dev,
			       const struct dax_mapping_attr *attr)
{
	struct extent_map *map;
	int ret;

	ret = extent_map_new(&map, dev, attr->size < 0 ? 0 : attr->size);
	if (ret)
		return ret;
	ret = new_with_ops(ret_mapping, dev, attr, &extent_map_ops, map);
	if (ret)
		extent_map_destroy(map);
	else
		(*ret_mapping)->tells_new = true;
	return ret;
}

static int check_new(const struct dax_device *dev, const struct dax_mapping_attr *attr)
{
	if (attr->policy > DAX_POLICY_PAGE_CACHE)
		return dax_error(-EINVAL, "policy %u is unknown", attr->policy);
	if (dev->kind == DEVICE_SPARSE)
		return dax_error(-EINVAL, "%s: the window of a sparse file holds no "
				 "other files", dev->path);
	return 0;
}

int dax_mapping_new(struct dax_mapping **ret_mapping, struct dax_device *dev,
		    const struct dax_mapping_attr *attr)
{
	int ret;

	clear_errormsg();
	ret = check_new(dev, attr);
	if (ret)
		return ret;
	if (!attr->ops)
		return new_with_extent_map(ret_mapping, dev, attr);
	return mapping_new(ret_mapping, dev, attr, policies[attr->policy]);
}

static int check_new_extents(const struct dax_device *dev,
			     const struct dax_mapping_attr *attr,
			     const struct dax_extent *rows, size_t nr)
{
	int ret = check_new(dev, attr);

	if (!ret && attr->ops)
		ret = dax_error(-EINVAL, "a file has extents or ops, not both");
	return ret ? ret : extent_table_check(rows, nr, attr->size, dev->size);
}

int dax_mapping_new_extents(struct dax_mapping **ret_mapping,
			    struct dax_device *dev,
			    const struct dax_mapping_attr *attr,
			    const struct dax_extent *rows, size_t nr)
{
	struct extent_table *table = NULL;
	int ret;

	clear_errormsg();
	ret = check_new_extents(dev, attr, rows, nr);
	if (!ret)
		ret = extent_table_new(&table, rows, nr);
	if (ret)
		return ret;
	ret = new_with_ops(ret_mapping, dev, attr, &extent_table_ops, table);
	if (ret)
		extent_table_destroy(table);
	return ret;
}

int dax_mapping_replace_extents(struct dax_mapping *mapping,
				const struct dax_extent *rows, size_t nr)
{
	clear_errormsg();
	return mapping_replace_extents(mapping, rows, nr);
}

int dax_check_extents(const struct dax_extent *rows, size_t nr, dax_loff_t size,
		      uint64_t device_size)
{
	clear_errormsg();
	return extent_table_check(rows, nr, size, device_size);
}

int dax_mapping_open(struct dax_mapping **ret_mapping, const char *path,
		     dax_loff_t size, unsigned int flags)
{
	clear_errormsg();
	return sparse_file_open(ret_mapping, path, size, flags, &zero_page_policy);
}

void dax_mapping_get(struct dax_mapping *mapping)
{
	mapping_get(mapping);
}

/* A vma that could not be freed holds the file: it goes now. */
void dax_mapping_put(struct dax_mapping *mapping)
{
	vma_reap(mapping);
	mapping_put(mapping);
}

/* Where the size cannot be asked, it is what it was. */
dax_loff_t dax_mapping_size(const struct dax_mapping *mapping)
{
	if (mapping->hooks)
		mapping->hooks->verify((struct dax_mapping *)(uintptr_t)mapping, 0, 0);
	return smp_load_acquire(&mapping->i_size);
}

unsigned int dax_mapping_policy(const struct dax_mapping *mapping)
{
	return mapping->policy->kind;
}

struct dax_device *dax_mapping_device(const struct dax_mapping *mapping)
{
	return mapping->dax_dev;
}

uint64_t dax_mapping_ino(const struct dax_mapping *mapping)
{
	return mapping_ino(mapping);
}

/* Bytes of a file from a position on, for a buffer that is bounced. */
struct file_bytes {
	struct dax_mapping *mapping;
	dax_loff_t pos;
};

static ssize_t pread_step(const void *arg, void *buf, size_t len, size_t done)
{
	const struct file_bytes *bytes = arg;

	return mapping_pread(bytes->mapping, buf, len, bytes->pos + (dax_loff_t)done);
}

static ssize_t pwrite_step(const void *arg, void *buf, size_t len, size_t done)
{
	const struct file_bytes *bytes = arg;

	return mapping_pwrite(bytes->mapping, buf, len, bytes->pos + (dax_loff_t)done);
}

ssize_t dax_mapping_pread(struct dax_mapping *mapping, void *buf, size_t len,
			  dax_loff_t pos)
{
	struct file_bytes bytes = { mapping, pos };

	clear_errormsg();
	if (unlikely(needs_bounce(buf, len)))
		return bounce(pread_step, &bytes, buf, len, true);
	return mapping_pread(mapping, buf, len, pos);
}

ssize_t dax_mapping_pwrite(struct dax_mapping *mapping, const void *buf,
			   size_t len, dax_loff_t pos)
{
	struct file_bytes bytes = { mapping, pos };

	clear_errormsg();
	if (unlikely(needs_bounce(buf, len)))
		return bounce(pwrite_step, &bytes, (void *)(uintptr_t)buf, len, false);
	return mapping_pwrite(mapping, buf, len, pos);
}

int dax_mapping_truncate(struct dax_mapping *mapping, dax_loff_t size)
{
	clear_errormsg();
	return mapping_truncate(mapping, size);
}

int dax_mapping_fallocate(struct dax_mapping *mapping, dax_loff_t pos,
			  uint64_t len)
{
	clear_errormsg();
	return mapping_fallocate(mapping, pos, len);
}

int dax_mapping_punch_hole(struct dax_mapping *mapping, dax_loff_t pos,
			   uint64_t len)
{
	clear_errormsg();
	return mapping_punch_hole(mapping, pos, len);
}

int dax_mapping_zero_range(struct dax_mapping *mapping, dax_loff_t pos,
			   uint64_t len)
{
	clear_errormsg();
	return mapping_zero_range(mapping, pos, len);
}

int64_t dax_mapping_writeback(struct dax_mapping *mapping, dax_loff_t pos,
			      uint64_t len)
{
	clear_errormsg();
	return mapping_writeback(mapping, pos, len);
}

int dax_mapping_fsync(struct dax_mapping *mapping, uint32_t *since)
{
	clear_errormsg();
	return mapping_fsync(mapping, since);
}

uint32_t dax_mapping_wb_err(const struct dax_mapping *mapping)
{
	return READ_ONCE(mapping->wb_err);
}

int dax_mapping_clone(struct dax_mapping **ret_mapping, struct dax_mapping *src)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr), .policy = src->policy->kind,
	};
	struct dax_mapping *mapping;
	int ret;

	clear_errormsg();
	if (!extent_map_is(READ_ONCE(src->ops)))
		return dax_error(-EOPNOTSUPP, "only a file over the built-in block map "
				 "can be cloned; dax_mapping_clone_range() takes others");
	ret = new_with_extent_map(&mapping, src->dax_dev, &attr);
	if (ret)
		return ret;
	ret = mapping_clone_whole(mapping, src);
	if (ret)
		mapping_put(mapping);
	else
		*ret_mapping = mapping;
	return ret;
}

int dax_mapping_clone_range(struct dax_mapping *dst, dax_loff_t dst_pos,
			    struct dax_mapping *src, dax_loff_t src_pos,
			    uint64_t len)
{
	clear_errormsg();
	return mapping_clone_range(dst, dst_pos, src, src_pos, len);
}

int64_t dax_mapping_dedupe_range(struct dax_mapping *dst, dax_loff_t dst_pos,
				 struct dax_mapping *src, dax_loff_t src_pos,
				 uint64_t len)
{
	clear_errormsg();
	return mapping_dedupe_range(dst, dst_pos, src, src_pos, len);
}

ssize_t dax_pin_pages(struct dax_mapping *mapping, dax_loff_t pos, size_t len,
		      int write, struct dax_pin *ret_pin)
{
	clear_errormsg();
	return pin_pages(mapping, pos, len, write, ret_pin);
}

int dax_unpin_pages(struct dax_pin *pin, int dirty)
{
	clear_errormsg();
	return unpin_pages(pin, dirty);
}

static struct layout_range layout_of(struct dax_mapping *mapping,
				     dax_pgoff_t first, dax_pgoff_t last)
{
	return (struct layout_range){
		.mapping = mapping, .first = first,
		.end = last == UINT64_MAX ? last : last + 1,
	};
}

int dax_layout_busy_page_range(struct dax_mapping *mapping, dax_pgoff_t first,
			       dax_pgoff_t last, dax_pgoff_t *ret_index,
			       dax_pfn_t *ret_pfn)
{
	struct layout_range range = layout_of(mapping, first, last);
	dax_pgoff_t index;
	dax_pfn_t pfn;
	int ret;

	clear_errormsg();
	ret = mapping_lock_both(mapping);
	if (ret)
		return ret;
	ret = layout_busy_page_range(&range, &index, &pfn);
	mapping_unlock_both(mapping);
	if (ret == 1 && ret_index)
		*ret_index = index;
	if (ret == 1 && ret_pfn)
		*ret_pfn = pfn;
	return ret;
}

int dax_break_layout(struct dax_mapping *mapping, dax_pgoff_t first,
		     dax_pgoff_t last, int nowait)
{
	struct layout_range range = layout_of(mapping, first, last);
	int ret;

	clear_errormsg();
	ret = break_layouts(&range, NULL, nowait);
	if (!ret)
		mapping_unlock_both(mapping);
	return ret;
}

static dax_pfn_t entry_pfn(const void *entry)
{
	if (!dax_is_zero_entry(entry))
		return dax_radix_pfn(entry);
	return dax_is_pmd_entry(entry) ? DAX_HUGE_ZERO_PFN : DAX_ZERO_PFN;
}

static struct dax_entry_info entry_row(const struct radix_tree_iter *iter)
{
	struct dax_entry_info row = {
		.index = iter->index,
		.order = (uint8_t)iter->order,
		.dirty = radix_tree_tag_get(iter, DAX_PAGECACHE_TAG_DIRTY),
		.towrite = radix_tree_tag_get(iter, DAX_PAGECACHE_TAG_TOWRITE),
	};

	if (!radix_tree_exceptional_entry(iter->entry)) {
		row.page = 1;
		return row;
	}
	row.pfn = entry_pfn(iter->entry);
	row.zero = dax_is_zero_entry(iter->entry);
	row.empty = dax_is_empty_entry(iter->entry);
	row.locked = dax_is_locked(iter->entry);
	return row;
}

int64_t dax_mapping_entries(struct dax_mapping *mapping, dax_pgoff_t *index,
			    struct dax_entry_info *buf, size_t nr)
{
	struct radix_tree_iter iter;
	struct percpu_area *area;
	size_t filled = 0;
	int ret;

	clear_errormsg();
	ret = mapping_lock_shared(mapping, &area);
	if (ret)
		return ret;
	while (filled < nr &&
	       radix_tree_next(&mapping->i_pages, *index, UINT64_MAX, &iter)) {
		buf[filled++] = entry_row(&iter);
		*index = radix_tree_iter_last(&iter) + 1;
	}
	mapping_unlock_shared(mapping, area);
	return (int64_t)filled;
}

int64_t dax_mapping_collect(struct dax_mapping *mapping)
{
	clear_errormsg();
	return mapping_collect(mapping);
}

int dax_mapping_freeze(struct dax_mapping *mapping)
{
	clear_errormsg();
	return mapping_freeze(mapping);
}

int dax_mapping_thaw(struct dax_mapping *mapping)
{
	clear_errormsg();
	return mapping_thaw(mapping);
}

int dax_lock_mapping_entry(struct dax_mapping *mapping, dax_pgoff_t index,
			   unsigned int order, struct dax_entry_info *row,
			   struct dax_entry_cookie **ret_cookie)
{
	int ret;

	clear_errormsg();
	ret = lock_mapping_entry(mapping, index, order, ret_cookie);
	if (!ret && row)
		*row = entry_row(&(*ret_cookie)->slot.iter);
	return ret;
}

/* What could not be done while the thread held the entry. */
static int after_unlock(int ret, struct dax_mapping *mapping)
{
	if (ret)
		return ret;
	vma_reap(mapping);
	mapping_put(mapping);
	return 0;
}

int dax_unlock_mapping_entry(struct dax_entry_cookie *cookie)
{
	struct dax_mapping *mapping = NULL;
	int ret;

	clear_errormsg();
	ret = unlock_mapping_entry(cookie, &mapping);
	return after_unlock(ret, mapping);
}

int dax_drop_mapping_entry(struct dax_entry_cookie *cookie)
{
	struct dax_mapping *mapping = NULL;
	int ret;

	clear_errormsg();
	ret = drop_mapping_entry(cookie, &mapping);
	return after_unlock(ret, mapping);
}

int64_t dax_mapping_extents(struct dax_mapping *mapping, dax_loff_t *pos,
			    struct dax_extent *buf, size_t nr)
{
	clear_errormsg();
	return mapping_extents(mapping, pos, buf, nr);
}

static uint64_t gauge(struct dax_mapping *mapping, enum dax_gauge i)
{
	bool built_in = extent_map_is(READ_ONCE(mapping->ops));
	bool sparse = READ_ONCE(mapping->ops) == &sparse_file_ops;
	uint64_t pages = mapping->policy->bytes ? mapping->policy->bytes(mapping) : 0;

	switch (i) {
	case DAX_GAUGE_NREXCEPTIONAL:
		return mapping_nrexceptional(mapping);
	case DAX_GAUGE_NRPAGES:
		return pages >> DAX_PAGE_SHIFT;
	case DAX_GAUGE_TREE_BYTES:
		return radix_tree_bytes(&mapping->i_pages);
	case DAX_GAUGE_PAGE_TABLE_BYTES:
		return READ_ONCE(mapping->page_table_bytes);
	case DAX_GAUGE_PAGE_CACHE_BYTES:
		return pages;
	case DAX_GAUGE_COW_BYTES:
		return READ_ONCE(mapping->cow_bytes);
	case DAX_GAUGE_BLOCK_MAP_BYTES:
		if (sparse)
			return sparse_file_bytes(mapping->private_data);
		return built_in ? extent_map_bytes(mapping->private_data) : 0;
	case DAX_GAUGE_ALLOCATED_BYTES:
		if (sparse)
			return sparse_file_allocated(mapping->private_data);
		return built_in ? extent_map_allocated(mapping->private_data) : 0;
	case DAX_NR_GAUGES:
		break;
	}
	return 0;
}

size_t dax_mapping_stats(struct dax_mapping *mapping, uint64_t *values,
			 size_t nr)
{
	const size_t total = (size_t)DAX_NR_STATS + DAX_NR_GAUGES;

	for (size_t i = 0; i < nr && i < total; i++)
		values[i] = i < DAX_NR_STATS ?
				    percpu_sum(&mapping->percpu, (unsigned int)i) :
				    gauge(mapping, (enum dax_gauge)(i - DAX_NR_STATS));
	return total;
}

const char *dax_stat_name(size_t i)
{
	return stat_name(i);
}

const char *dax_fallback_reason_name(int reason)
{
	return fallback_reason_name(reason);
}

/* ---- vmas -------------------------------------------------------------------------- */

int dax_vma_new(struct dax_vma **ret_vma, struct dax_mapping *mapping,
		const struct dax_vma_attr *attr)
{
	clear_errormsg();
	if (attr->struct_size == sizeof(*attr) && attr->backend == DAX_BACKEND_REAL)
		return vma_real_new(ret_vma, mapping, attr);
	return vma_soft_new(ret_vma, mapping, attr);
}

void dax_vma_get(struct dax_vma *vma)
{
	vma_get(vma);
}

void dax_vma_put(struct dax_vma *vma)
{
	vma_put(vma);
}

struct dax_mapping *dax_vma_mapping(const struct dax_vma *vma)
{
	return vma->mapping;
}

uint64_t dax_vma_length(const struct dax_vma *vma)
{
	return vma->length;
}

dax_loff_t dax_vma_offset(const struct dax_vma *vma)
{
	return (dax_loff_t)(vma->vm_pgoff << DAX_PAGE_SHIFT);
}

const char *dax_vma_dirty_tracking(const struct dax_vma *vma)
{
	return vma_real_dirty_tracking(vma);
}

void *dax_vma_address(const struct dax_vma *vma)
{
	return vma_real_address(vma);
}

int dax_vma_fault(struct dax_vma *vma, dax_pgoff_t pgoff, int write,
		  struct dax_fault_info *info)
{
	clear_errormsg();
	return (int)vma_real_absorb(vma, vma_fault(vma, pgoff, write, info));
}

int64_t dax_vma_fault_range(struct dax_vma *vma, dax_pgoff_t pgoff,
			    uint64_t nr_pages, int write, uint64_t *latencies,
			    size_t nr_latencies, struct dax_fault_info *info)
{
	clear_errormsg();
	return vma_real_fault_range(vma, pgoff, nr_pages, write, latencies,
				    nr_latencies, info);
}

int64_t dax_vma_fault_many(struct dax_vma *vma, const dax_pgoff_t *pgoffs,
			   size_t nr, int write, uint64_t *latencies,
			   size_t nr_latencies, struct dax_fault_info *info)
{
	clear_errormsg();
	return vma_real_fault_many(vma, pgoffs, nr, write, latencies, nr_latencies, info);
}

/* The same of a mapping. */
struct vma_bytes {
	struct dax_vma *vma;
	uint64_t offset;
	struct dax_fault_info *info;
};

static ssize_t read_step(const void *arg, void *buf, size_t len, size_t done)
{
	const struct vma_bytes *bytes = arg;

	return vma_real_read(bytes->vma, buf, len, bytes->offset + done, bytes->info);
}

static ssize_t write_step(const void *arg, void *buf, size_t len, size_t done)
{
	const struct vma_bytes *bytes = arg;

	return vma_real_write(bytes->vma, buf, len, bytes->offset + done, bytes->info);
}

ssize_t dax_vma_read(struct dax_vma *vma, void *buf, size_t len,
		     uint64_t offset, struct dax_fault_info *info)
{
	struct vma_bytes bytes = { vma, offset, info };

	clear_errormsg();
	if (unlikely(needs_bounce(buf, len)))
		return bounce(read_step, &bytes, buf, len, true);
	return vma_real_read(vma, buf, len, offset, info);
}

ssize_t dax_vma_write(struct dax_vma *vma, const void *buf, size_t len,
		      uint64_t offset, struct dax_fault_info *info)
{
	struct vma_bytes bytes = { vma, offset, info };

	clear_errormsg();
	if (unlikely(needs_bounce(buf, len)))
		return bounce(write_step, &bytes, (void *)(uintptr_t)buf, len, false);
	return vma_real_write(vma, buf, len, offset, info);
}

int dax_vma_dontneed(struct dax_vma *vma, uint64_t offset, uint64_t len)
{
	clear_errormsg();
	return vma_dontneed(vma, offset, len);
}

int dax_vma_pagemap(struct dax_vma *vma, dax_pgoff_t pgoff, dax_pfn_t *pfns,
		    uint64_t nr_pages)
{
	clear_errormsg();
	return vma_pagemap(vma, pgoff, pfns, nr_pages);
}

int dax_vma_memory(struct dax_vma *vma, struct dax_memory_info *ret_memory)
{
	clear_errormsg();
	return vma_real_memory(vma, ret_memory);
}

/* ---- trace events ------------------------------------------------------------------ */

int dax_trace_start(struct dax_trace **ret_trace, struct dax_mapping *mapping,
		    size_t nr_events)
{
	clear_errormsg();
	if (mapping && mapping_is_stale(mapping))
		return mapping_lock_error(-ESTALE);
	return trace_start(ret_trace, mapping ? mapping_ino(mapping) : 0, nr_events);
}

void dax_trace_stop(struct dax_trace *trace)
{
	trace_stop(trace);
}

int64_t dax_trace_read(struct dax_trace *trace, struct dax_trace_event *buf,
		       size_t nr)
{
	clear_errormsg();
	return trace_read(trace, buf, nr);
}

uint64_t dax_trace_lost(struct dax_trace *trace)
{
	return trace_lost(trace);
}

void dax_trace_free(struct dax_trace *trace)
{
	trace_free(trace);
}

const char *dax_trace_event_name(int event)
{
	return trace_event_name(event);
}
