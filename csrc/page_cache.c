/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * page_cache.c -- the comparator: holes as they were before the zero page
 *
 * A read of a hole allocates a page, zeroes it and puts its pointer into the
 * tree in place of the locked EMPTY entry; from then on the page's own lock
 * serialises faults on that index.  A write takes the page out again and
 * needs a second fault to make the leaf writable.
 *
 * Owns: struct page, the pool they come from, page pointers in the tree.
 * Locks: invalidate_lock shared; the page lock stands where the entry lock
 *        does; the pool's lock is innermost.  A struct page is never unmapped
 *        while the file lives, so a stale pointer can be looked at.
 * Kernel: fs/dax.c, mm/filemap.c page_cache_tree_insert() (v4.13, before
 *         "dax: use common 4k zero page for dax mmap reads").
 * Differs: leaves hold no reference, they go before the page does; there is
 *          no reclaim and no LRU, which is in the comparator's favour.
 */
#include "page_cache.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "errormsg.h"
#include "fault.h"
#include "frames.h"
#include "fs_dax.h"

/* Pages of a cold pool are set up 16 MiB at a time. */
enum { POOL_CHUNK_PAGES = 4096 };

struct page {
	struct mutex lock;
	_Atomic unsigned int refcount;	/* 0: free */
	_Atomic unsigned int mapcount;	/* leaves inserted since it was new */
	_Atomic(struct dax_mapping *) mapping;	/* NULL: not in the tree */
	dax_pgoff_t index;
	char *data;			/* 4096 bytes */
	struct page *next_free;		/* guarded by the pool's lock */
};

struct pool_chunk {
	struct pool_chunk *next;
	char *data;
	uint64_t nr_pages;
	uint64_t nr_used;	/* ever handed out */
	struct page pages[];
};

struct page_pool {
	struct mutex lock;	/* guards all below */
	struct pool_chunk *chunks;
	struct page *free;
	_Atomic uint64_t nrpages;	/* pages in the tree */
};

static struct page_pool *pool_of(struct dax_mapping *mapping)
{
	return mapping->policy_data;
}

/* ---- the pool -------------------------------------------------------------------- */

static int pool_add_chunk(struct page_pool *pool, uint64_t nr_pages)
{
	struct pool_chunk *chunk;
	void *addr, *data;
	int ret;

	ret = sys_reserve(&addr, sizeof(*chunk) + nr_pages * sizeof(struct page));
	if (ret)
		return ret;
	ret = sys_reserve(&data, nr_pages << DAX_PAGE_SHIFT);
	if (ret) {
		sys_unreserve(addr, sizeof(*chunk) + nr_pages * sizeof(struct page));
		return ret;
	}
	sys_nohugepage(data, nr_pages << DAX_PAGE_SHIFT);
	chunk = addr;
	chunk->data = data;
	chunk->nr_pages = nr_pages;
	chunk->next = pool->chunks;
	pool->chunks = chunk;
	return 0;
}

/* Pool lock held: a page nobody has used yet, or NULL. */
static struct page *pool_fresh_page(struct page_pool *pool)
{
	struct pool_chunk *chunk = pool->chunks;
	struct page *page;

	if (!chunk || chunk->nr_used == chunk->nr_pages) {
		if (pool_add_chunk(pool, POOL_CHUNK_PAGES))
			return NULL;
		chunk = pool->chunks;
	}
	page = &chunk->pages[chunk->nr_used];
	page->data = chunk->data + (chunk->nr_used++ << DAX_PAGE_SHIFT);
	return page;
}

static struct page *alloc_zeroed_page(struct page_pool *pool)
{
	struct page *page;

	if (dax_test_fail_alloc(DAX_PAGE_SIZE))
		return NULL;
	mutex_lock(&pool->lock);
	page = pool->free;
	if (page)
		pool->free = page->next_free;
	else
		page = pool_fresh_page(pool);
	mutex_unlock(&pool->lock);
	if (page)
		memset(page->data, 0, DAX_PAGE_SIZE);
	return page;
}

static void pool_free_page(struct page_pool *pool, struct page *page)
{
	mutex_lock(&pool->lock);
	page->next_free = pool->free;
	pool->free = page;
	mutex_unlock(&pool->lock);
}

/* A warm pool has all the memory the file can ever ask for, faulted in. */
static int pool_warm_up(struct page_pool *pool, struct dax_mapping *mapping)
{
	uint64_t nr = mapping_max_pgoff(mapping);
	struct pool_chunk *chunk;

	if (!nr)
		return 0;
	if (nr > sys_available_memory() >> DAX_PAGE_SHIFT)
		return dax_error(-ENOMEM, "a warm page pool of %" PRIu64 " pages is more "
				 "than the memory available; use a cold one", nr);
	if (pool_add_chunk(pool, nr))
		return dax_error(-ENOMEM, "no address space for a pool of %" PRIu64
				 " pages", nr);
	chunk = pool->chunks;
	if (sys_populate_write(chunk->data, nr << DAX_PAGE_SHIFT) ||
	    sys_populate_write(chunk->pages, nr * sizeof(struct page)))
		return dax_error(-ENOMEM, "no memory for a warm pool of %" PRIu64
				 " pages", nr);
	return 0;
}

static void pool_destroy(struct page_pool *pool)
{
	struct pool_chunk *chunk = pool->chunks;

	while (chunk) {
		struct pool_chunk *next = chunk->next;

		sys_unreserve(chunk->data, chunk->nr_pages << DAX_PAGE_SHIFT);
		sys_unreserve(chunk, sizeof(*chunk) +
					     chunk->nr_pages * sizeof(struct page));
		chunk = next;
	}
	dax_free(pool);
}

static int page_cache_init(struct dax_mapping *mapping, unsigned int page_pool)
{
	struct page_pool *pool = dax_zalloc(sizeof(*pool));
	int ret = 0;

	if (!pool)
		return dax_error(-ENOMEM, "no memory for a page pool");
	if (page_pool == DAX_PAGE_POOL_WARM)
		ret = pool_warm_up(pool, mapping);
	if (ret) {
		pool_destroy(pool);
		return ret;
	}
	mapping->policy_data = pool;
	return 0;
}

static void page_cache_fini(struct dax_mapping *mapping)
{
	pool_destroy(pool_of(mapping));
}

static uint64_t page_cache_bytes(struct dax_mapping *mapping)
{
	return READ_ONCE(pool_of(mapping)->nrpages) << DAX_PAGE_SHIFT;
}

/* ---- references and the page lock ---------------------------------------------------- */

static bool get_page_unless_zero(struct page *page)
{
	unsigned int old = READ_ONCE(page->refcount);

	while (old)
		if (atomic_compare_exchange_weak(&page->refcount, &old, old + 1))
			return true;
	return false;
}

static void put_page(struct page_pool *pool, struct page *page)
{
	if (atomic_fetch_sub(&page->refcount, 1) == 1)
		pool_free_page(pool, page);
}

/* The tree's reference and ours go, the page is nobody's any more. */
static void remove_page(struct dax_slot *slot, struct page *page)
{
	struct page_pool *pool = pool_of(slot->mapping);

	WRITE_ONCE(page->mapping, NULL);
	atomic_fetch_sub_explicit(&pool->nrpages, 1, memory_order_relaxed);
	put_page(pool, page);
	mutex_unlock(&page->lock);
	put_page(pool, page);
}

static int grab_page(struct dax_slot *slot)
{
	struct page_pool *pool = pool_of(slot->mapping);
	struct page *page = slot->iter.entry;

	if (!get_page_unless_zero(page))
		return -EAGAIN;
	mutex_lock(&page->lock);
	/* Truncated, filled or reused while we waited? */
	if (READ_ONCE(page->mapping) == slot->mapping &&
	    smp_load_acquire(slot->iter.slot) == page)
		return 0;
	mutex_unlock(&page->lock);
	put_page(pool, page);
	return -EAGAIN;
}

static void put_grabbed_page(struct dax_slot *slot)
{
	struct page *page = slot->iter.entry;

	mutex_unlock(&page->lock);
	put_page(pool_of(slot->mapping), page);
}

static void replace_hole(struct dax_slot *slot, void *entry)
{
	struct page *page = slot->iter.entry;

	dax_replace_entry(slot, entry);
	percpu_inc(slot->area, DAX_STAT_ENTRY_INSERT);
	remove_page(slot, page);
}

static void delete_page(struct dax_slot *slot)
{
	struct page *page = slot->iter.entry;

	smp_store_release(slot->iter.slot, NULL);
	remove_page(slot, page);
}

/* ---- faults ------------------------------------------------------------------------------ */

/* The EMPTY entry, locked by us, gives way to a page, locked by us.  Those who
 * wait for the entry wait for a thing that is gone: all are woken. */
static int add_page(struct dax_slot *slot)
{
	struct page_pool *pool = pool_of(slot->mapping);
	struct page *page = alloc_zeroed_page(pool);

	if (!page)
		return dax_error(-ENOMEM, "no memory for the page-cache page %" PRIu64,
				 slot->index);
	mutex_lock(&page->lock);
	WRITE_ONCE(page->mapping, slot->mapping);
	WRITE_ONCE(page->mapcount, 0);
	page->index = slot->index;
	atomic_store(&page->refcount, 2);	/* the tree's and ours */
	atomic_fetch_add_explicit(&pool->nrpages, 1, memory_order_relaxed);
	dax_replace_entry(slot, page);
	percpu_inc(slot->area, DAX_STAT_ENTRY_DELETE);
	dax_wake_mapping_entry_waiter(slot->mapping, &slot->iter, WAKE_ALL);
	return 0;
}

static dax_vm_fault_t __load_hole(struct dax_vm_fault *vmf, struct dax_slot *slot)
{
	struct page *page;
	int ret = 0;

	if (radix_tree_exceptional_entry(slot->iter.entry)) {
		if (dax_is_data_entry(slot->iter.entry))
			return vmf_error(vmf, block_lost(vmf));
		ret = add_page(slot);
	}
	if (ret)
		return vmf_error(vmf, ret);
	page = slot->iter.entry;
	ret = vmf->vma->vm_ops->insert_mixed(vmf, host_pfn(page->data), false);
	if (ret && ret != -EBUSY)
		return vmf_error(vmf, ret);
	if (!ret)
		atomic_fetch_add_explicit(&page->mapcount, 1, memory_order_relaxed);
	percpu_inc(vmf->area, DAX_STAT_LOAD_HOLE);
	return DAX_VM_FAULT_NOPAGE;
}

static dax_vm_fault_t page_cache_load_hole(struct dax_vm_fault *vmf,
					   struct dax_slot *slot)
{
	dax_vm_fault_t fault = __load_hole(vmf, slot);

	trace_dax_load_hole(vmf, fault);
	return fault;
}

/* A data entry: tag it, then let the leaf be written.  Entry locked. */
static dax_vm_fault_t finish_mkwrite(struct dax_vm_fault *vmf,
				     struct dax_slot *slot)
{
	dax_pfn_t pfn = dax_radix_pfn(slot->iter.entry) +
			(vmf->pgoff - slot->iter.index);
	int ret;

	dax_tag_dirty(slot);
	ret = vmf->vma->vm_ops->insert_mixed(vmf, pfn, true);
	percpu_inc(vmf->area, DAX_STAT_PFN_MKWRITE);
	return ret && ret != -EBUSY ? vmf_error(vmf, ret) : DAX_VM_FAULT_NOPAGE;
}

/* A block of the file's own: it can be written to without asking the block
 * map.  A DIRTY entry has no others. */
static bool is_own_block(const struct dax_slot *slot, const void *unused)
{
	const void *entry = slot->iter.entry;

	(void)unused;
	if (!radix_tree_exceptional_entry(entry) || !dax_is_data_entry(entry))
		return false;
	if (radix_tree_tag_get(&slot->iter, DAX_PAGECACHE_TAG_DIRTY))
		return true;
	return !slot->iter.order ? !pfn_may_move(dax_radix_pfn(entry))
				 : !READ_ONCE(frames_ever_shared);
}

/*
 * Second step of a write.  A page stands there: it is a hole still, and the
 * ordinary fault fills it (page_mkwrite); so it does where the block is shared.
 * Nothing: the access is repeated.
 */
static dax_vm_fault_t pfn_mkwrite(struct dax_vm_fault *vmf)
{
	struct dax_slot slot;
	dax_vm_fault_t fault;

	dax_slot_init(&slot, vmf->vma->mapping, vmf->area, vmf->pgoff);
	if (!lock_slot_if(&slot, is_own_block, NULL)) {
		if (!slot.iter.entry)
			trace_dax_pfn_mkwrite_no_entry(vmf, DAX_VM_FAULT_NOPAGE);
		return iomap_fault(vmf, 0);
	}
	fault = finish_mkwrite(vmf, &slot);
	put_locked_mapping_entry(&slot);
	trace_dax_pfn_mkwrite(vmf, fault);
	return fault;
}

const struct dax_policy page_cache_policy = {
	.kind = DAX_POLICY_PAGE_CACHE,
	.load_hole = page_cache_load_hole,
	.grab_page = grab_page,
	.put_page = put_grabbed_page,
	.replace_hole = replace_hole,
	.delete_page = delete_page,
	.pfn_mkwrite = pfn_mkwrite,
	.init = page_cache_init,
	.fini = page_cache_fini,
	.bytes = page_cache_bytes,
};
