/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * white_box.h -- one file seen from inside: a device, a file on it, a block
 * map that says what a test wants it to say, entries planted and read by hand
 */
#ifndef WHITE_BOX_H
#define WHITE_BOX_H

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "daxcore.h"
#include "entry_lock.h"
#include "fault.h"
#include "mapping.h"
#include "tap.h"
#include "vma_soft.h"

enum {
	PMD_PAGES = DAX_PMD_NR_PAGES,
	RW_SHARED = DAX_VM_READ | DAX_VM_WRITE | DAX_VM_SHARED,
	RW_PRIVATE = DAX_VM_READ | DAX_VM_WRITE,
	DEVICE_PAGES = 8 * DAX_PMD_NR_PAGES
};

/* A block map with one answer for all, and what it was asked. */
struct block_map {
	struct dax_iomap answer;
	int error;			/* of iomap_begin, if not 0 */
	void (*on_begin)(void);
	_Atomic unsigned int begins, ends;
	dax_loff_t pos;			/* of the last call */
	uint64_t length;
	unsigned int flags;
	int64_t written;		/* of the last iomap_end */
	bool mismatch;			/* iomap_end did not match iomap_begin */
};

struct white_box {
	struct dax_device *dev;
	struct dax_mapping *file;
	struct percpu_area *area;	/* between enter() and leave() */
	struct block_map map;
};

static struct white_box fx;

static inline int fx_begin(struct dax_mapping *mapping, void *private_data,
			   dax_loff_t pos, uint64_t length, unsigned int flags,
			   struct dax_iomap *iomap)
{
	struct block_map *map = private_data;
	struct dax_device *dev = iomap->dax_dev;

	(void)mapping;
	if (map->on_begin)
		map->on_begin();
	map->pos = pos;
	map->length = length;
	map->flags = flags;
	if (map->error)
		return map->error;
	map->begins++;
	*iomap = map->answer;
	if (!iomap->dax_dev)
		iomap->dax_dev = dev;
	iomap->private_data = map;
	return 0;
}

static inline int fx_end(struct dax_mapping *mapping, void *private_data,
			 dax_loff_t pos, uint64_t length, int64_t written,
			 unsigned int flags, struct dax_iomap *iomap)
{
	struct block_map *map = private_data;

	(void)mapping;
	map->ends++;
	map->written = written;
	if (pos != map->pos || length != map->length || flags != map->flags ||
	    iomap->private_data != map)
		map->mismatch = true;
	return 0;
}

static const struct dax_iomap_ops fx_ops = {
	.struct_size = sizeof(struct dax_iomap_ops),
	.iomap_begin = fx_begin,
	.iomap_end = fx_end,
};

static inline void fx_answer(unsigned int type, uint64_t addr,
			     unsigned int flags)
{
	fx.map.answer = (struct dax_iomap){
		.type = (uint16_t)type, .flags = (uint16_t)flags, .addr = addr,
		.length = INT64_MAX,
	};
}

static inline void fx_file(dax_loff_t size, unsigned int policy,
			   const struct dax_iomap_ops *ops)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr), .size = size, .policy = policy,
		.ops = ops, .private_data = ops ? &fx.map : NULL,
	};

	memset(&fx, 0, sizeof(fx));
	fx_answer(DAX_IOMAP_HOLE, 0, 0);
	MUST(!dax_device_memory(&fx.dev, (uint64_t)DEVICE_PAGES << DAX_PAGE_SHIFT));
	MUST(!dax_mapping_new(&fx.file, fx.dev, &attr));
}

/* A file of @pages whose block map is fx.map: at first one hole. */
static inline void fx_open(dax_pgoff_t pages)
{
	fx_file((dax_loff_t)(pages << DAX_PAGE_SHIFT), DAX_POLICY_ZERO_PAGE, &fx_ops);
}

/* A file of @pages over the built-in block map. */
static inline void fx_open_real(dax_pgoff_t pages)
{
	fx_file((dax_loff_t)(pages << DAX_PAGE_SHIFT), DAX_POLICY_ZERO_PAGE, NULL);
}

static inline void fx_close(void)
{
	CHECK(!READ_ONCE(fx.file->nr_waiters));
	CHECK(!fx.map.mismatch);
	EQ(fx.map.begins, fx.map.ends);
	dax_mapping_put(fx.file);
	dax_device_put(fx.dev);
}

static inline struct dax_vma *fx_vma_at(uint64_t address, dax_pgoff_t pgoff,
					dax_pgoff_t pages, unsigned int flags,
					unsigned int kind)
{
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .flags = flags, .pages = kind,
		.offset = (dax_loff_t)(pgoff << DAX_PAGE_SHIFT),
		.length = pages << DAX_PAGE_SHIFT, .address = address,
	};
	struct dax_vma *vma;

	MUST(!dax_vma_new(&vma, fx.file, &attr));
	return vma;
}

static inline struct dax_vma *fx_vma(dax_pgoff_t pgoff, dax_pgoff_t pages,
				     unsigned int flags, unsigned int kind)
{
	return fx_vma_at(0, pgoff, pages, flags, kind);
}

/* ---- inside the file's lock ------------------------------------------------ */

static inline void enter(void)
{
	MUST(!mapping_lock_shared(fx.file, &fx.area));
}

static inline void leave(void)
{
	mapping_unlock_shared(fx.file, fx.area);
}

/* ---- the tree ----------------------------------------------------------------- */

static inline uint64_t count(unsigned int stat)
{
	return percpu_sum(&fx.file->percpu, stat);
}

static inline uint64_t entries(void)
{
	return mapping_nrexceptional(fx.file);
}

static inline struct radix_tree_iter place(dax_pgoff_t index)
{
	struct radix_tree_iter iter;

	radix_tree_walk(&fx.file->i_pages, index, 0, &iter);
	return iter;
}

/* Word of the entry that covers a page, 0 if none. */
static inline dax_entry_t word_at(dax_pgoff_t index)
{
	return dax_from_slot(radix_tree_lookup(&fx.file->i_pages, index));
}

static inline bool is_dirty(dax_pgoff_t index)
{
	struct radix_tree_iter iter = place(index);

	return iter.entry && radix_tree_tag_get(&iter, DAX_PAGECACHE_TAG_DIRTY);
}

/* The word of an unlocked entry. */
static inline dax_entry_t word(dax_pfn_t pfn, unsigned int flags)
{
	return pfn << DAX_ENTRY_SHIFT | flags | DAX_EXCEPTIONAL;
}

/* Put an unlocked entry into the tree. */
static inline void plant(dax_pgoff_t index, dax_pfn_t pfn, unsigned int flags)
{
	unsigned int order = flags & DAX_PMD ? DAX_PMD_ORDER : 0;
	struct radix_tree_iter iter;

	MUST(!radix_tree_insert(&fx.file->i_pages, index, order,
				dax_to_slot(word(pfn, flags)), &iter));
	percpu_inc(this_percpu(&fx.file->percpu), DAX_STAT_ENTRY_INSERT);
}

/* Replace the word at a place, whatever it is. */
static inline void overwrite(dax_pgoff_t index, dax_entry_t value)
{
	struct radix_tree_iter iter = place(index);

	smp_store_release(iter.slot, dax_to_slot(value));
}

static inline bool forget(const struct radix_tree_iter *iter, void *unused)
{
	(void)iter;
	(void)unused;
	percpu_inc(this_percpu(&fx.file->percpu), DAX_STAT_ENTRY_DELETE);
	return true;
}

/* Take entries out of the tree, and nodes that are empty then.  Context:
 * invalidate_lock exclusive. */
static inline void forget_entries(dax_pgoff_t first, dax_pgoff_t last)
{
	radix_tree_delete_range(&fx.file->i_pages, first, last, forget, NULL);
}

static inline dax_pfn_t device_pfn(dax_pgoff_t page)
{
	return fx.dev->pfn_base + page;
}

/* ---- for programs of several threads ----------------------------------------- */

/* A number below @n. */
static inline unsigned int rnd(unsigned int *seed, unsigned int n)
{
	*seed = *seed * 1103515245 + 12345;
	return (*seed >> 8) % n;
}

/* For dax_test.yield: now and then a thread is held up at a named point. */
static inline void jitter(enum dax_test_point point)
{
	static __thread unsigned int calls;

	(void)point;
	calls = calls * 1103515245 + 12345;
	if (calls >> 16 & 63)
		return;
	for (unsigned int i = calls >> 22 & 255; i; i--)
		cpu_relax();
	if (calls >> 30 == 0)
		sched_yield();
}

/* ---- the first byte of a page ------------------------------------------------- */

static inline char load_page(struct dax_vma *vma, dax_pgoff_t page)
{
	char byte = -1;

	EQ(dax_vma_read(vma, &byte, 1, page << DAX_PAGE_SHIFT, NULL), 1);
	return byte;
}

static inline void store_page(struct dax_vma *vma, dax_pgoff_t page, char byte)
{
	EQ(dax_vma_write(vma, &byte, 1, page << DAX_PAGE_SHIFT, NULL), 1);
}

/* ---- faults by hand ----------------------------------------------------------- */

static inline struct dax_vm_fault make_vmf(struct dax_vma *vma,
					   dax_pgoff_t pgoff, bool write)
{
	return (struct dax_vm_fault){
		.vma = vma, .pgoff = pgoff, .area = fx.area,
		.write = write && vma_is_shared(vma),
		.cow = write && !vma_is_shared(vma),
	};
}

/* One fault of @order, past the memory manager. */
static inline struct dax_vm_fault fault_of(struct dax_vma *vma,
					   dax_pgoff_t pgoff, bool write,
					   unsigned int order,
					   dax_vm_fault_t *ret_fault)
{
	struct dax_vm_fault vmf;

	enter();
	vmf = make_vmf(vma, pgoff, write);
	*ret_fault = iomap_fault(&vmf, order);
	leave();
	return vmf;
}

#endif
