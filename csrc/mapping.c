/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapping.c -- one file's state and lifetime
 *
 * Owns: struct dax_mapping, the registry of all files (for fork), the order
 *       of the outer locks.
 * Locks: the registry guards the list of files; around fork it is taken before
 *        those of percpu and frames.
 * Kernel: struct address_space and struct inode.
 * Differs: invalidate_lock has a name of its own (v4.14: each file system's
 *          i_mmap_sem or dax_sem); readers of it write no shared line, and who
 *          uses a file alone takes i_rwsem without one (biased_rwsem.h).
 */
#include "mapping.h"

#include <errno.h>
#include <inttypes.h>

#include "errormsg.h"
#include "frames.h"
#include "policy.h"
#include "waitqueue.h"

static struct mutex registry;
static struct dax_mapping *registered;

/* ---- fork ---------------------------------------------------------------- */

static void fork_prepare(void)
{
	mutex_lock(&registry);
	percpu_fork_prepare();
	frames_fork_prepare();
}

static void fork_parent(void)
{
	frames_fork_done();
	percpu_fork_done();
	mutex_unlock(&registry);
}

/* The child has one thread; the others may have held anything: all files are
 * stale, and what is stale is never freed. */
static void fork_child(void)
{
	for (struct dax_mapping *m = registered; m; m = m->next_registered) {
		percpu_rwsem_set_stale(&m->invalidate_lock);
		biased_rwsem_set_stale(&m->i_rwsem);
	}
	registered = NULL;
	sys_fork_generation++;
	waitqueue_fork_child();
	percpu_fork_child();
	fork_parent();
}

__attribute__((constructor)) static void mapping_init(void)
{
	sys_at_fork(fork_prepare, fork_parent, fork_child);
}

bool mapping_is_stale(const struct dax_mapping *mapping)
{
	return READ_ONCE(mapping->invalidate_lock.state) == PERCPU_RWSEM_STALE;
}

static int stale_error(void)
{
	return dax_error(-ESTALE, "the device was opened before fork(): a child opens "
			 "its own");
}

int mapping_check_alive(struct dax_mapping *mapping)
{
	return mapping_is_stale(mapping) ? stale_error() : 0;
}

/* ---- lists ----------------------------------------------------------------- */

static void link_mapping(struct dax_mapping *mapping)
{
	mutex_lock(&registry);
	mapping->next_registered = registered;
	registered = mapping;
	mutex_unlock(&registry);
	atomic_fetch_add(&mapping->dax_dev->nr_files, 1);
}

static void unlink_mapping(struct dax_mapping *mapping)
{
	struct dax_mapping **link;

	mutex_lock(&registry);
	for (link = &registered; *link != mapping;)
		link = &(*link)->next_registered;
	*link = mapping->next_registered;
	mutex_unlock(&registry);
	atomic_fetch_sub(&mapping->dax_dev->nr_files, 1);
}

/* ---- life ------------------------------------------------------------------ */

static int check_attr(struct dax_device *dev, const struct dax_mapping_attr *attr)
{
	if (attr->struct_size != sizeof(*attr))
		return dax_error(-EINVAL, "dax_mapping_attr.struct_size is %zu, not %zu",
				 attr->struct_size, sizeof(*attr));
	if (attr->size < 0 || attr->size > DAX_MAX_SIZE)
		return dax_error(-EINVAL, "size %" PRId64 " is not in 0 to %" PRId64,
				 attr->size, (int64_t)DAX_MAX_SIZE);
	if (attr->page_pool > DAX_PAGE_POOL_WARM)
		return dax_error(-EINVAL, "page_pool %u is unknown", attr->page_pool);
	if (!attr->ops || attr->ops->struct_size != sizeof(*attr->ops) ||
	    !attr->ops->iomap_begin)
		return dax_error(-EINVAL, "the block map has no iomap_begin or a "
				 "struct_size other than %zu", sizeof(*attr->ops));
	if (dev->fork_generation != sys_fork_generation)
		return stale_error();
	if (!smp_load_acquire(&dev->alive))
		return dax_error(-ENXIO, "%s: the device is dead", dev->path);
	return 0;
}

static int init_locks(struct dax_mapping *mapping)
{
	int ret = percpu_init(&mapping->percpu);

	if (ret)
		return dax_error(ret, "no memory for the file's locks");
	percpu_init_rwsem(&mapping->invalidate_lock, &mapping->percpu);
	biased_init_rwsem(&mapping->i_rwsem, &mapping->percpu);
	atomic_init(&mapping->refs, 1);
	return 0;
}

static void fini_locks(struct dax_mapping *mapping)
{
	biased_fini_rwsem(&mapping->i_rwsem);
	percpu_fini(&mapping->percpu);
}

int mapping_new(struct dax_mapping **ret_mapping, struct dax_device *dev,
		const struct dax_mapping_attr *attr,
		const struct dax_policy *policy)
{
	struct dax_mapping *mapping;
	int ret = check_attr(dev, attr);

	if (ret)
		return ret;
	mapping = dax_zalloc_apart(sizeof(*mapping));
	if (!mapping)
		return dax_error(-ENOMEM, "no memory for a file");
	mapping->dax_dev = dev;
	atomic_init(&mapping->ops, attr->ops);
	mapping->private_data = attr->private_data;
	mapping->policy = policy;
	atomic_init(&mapping->i_size, attr->size);
	radix_tree_init(&mapping->i_pages, mapping_maxindex(attr->size));
	ret = init_locks(mapping);
	if (ret)
		goto err_free;
	ret = policy->init ? policy->init(mapping, attr->page_pool) : 0;
	if (ret)
		goto err_fini_locks;
	device_get(dev);
	link_mapping(mapping);
	*ret_mapping = mapping;
	return 0;

err_fini_locks:
	fini_locks(mapping);
err_free:
	dax_free(mapping);
	return ret;
}

void mapping_get(struct dax_mapping *mapping)
{
	atomic_fetch_add_explicit(&mapping->refs, 1, memory_order_relaxed);
}

/* ---- devices of the block map ------------------------------------------------ */

int mapping_meet_device(struct dax_mapping *mapping, struct dax_device *dev)
{
	struct met_device *met = smp_load_acquire(&mapping->met_devices);
	struct met_device *new;

	for (; met; met = met->next)
		if (met->dev == dev)
			return 0;
	new = dax_zalloc(sizeof(*new));
	if (!new)
		return dax_error(-ENOMEM, "no memory to remember a device");
	device_get(dev);
	new->dev = dev;
	new->next = READ_ONCE(mapping->met_devices);
	/* Two threads may both add it: then it is held twice. */
	while (!atomic_compare_exchange_weak(&mapping->met_devices, &new->next, new))
		;
	return 0;
}

static void put_met_devices(struct dax_mapping *mapping)
{
	struct met_device *met = READ_ONCE(mapping->met_devices);

	while (met) {
		struct met_device *next = met->next;

		device_put(met->dev);
		dax_free(met);
		met = next;
	}
}

/* No vma is left (each holds a reference) and no call is in progress. */
static void mapping_free(struct dax_mapping *mapping)
{
	struct dax_device *dev = mapping->dax_dev;

	if (mapping->policy->fini)
		mapping->policy->fini(mapping);
	radix_tree_destroy(&mapping->i_pages);
	if (mapping->ops->free)
		mapping->ops->free(mapping, mapping->private_data);
	unlink_mapping(mapping);
	put_met_devices(mapping);
	fini_locks(mapping);
	dax_free(mapping);
	device_put(dev);
}

void mapping_put(struct dax_mapping *mapping)
{
	if (atomic_fetch_sub_explicit(&mapping->refs, 1,
				      memory_order_acq_rel) == 1 &&
	    !mapping_is_stale(mapping))
		mapping_free(mapping);
}

uint64_t mapping_nrexceptional(struct dax_mapping *mapping)
{
	/* In this order: an entry counted as gone was counted as come. */
	uint64_t deleted = percpu_sum(&mapping->percpu, DAX_STAT_ENTRY_DELETE);

	return percpu_sum(&mapping->percpu, DAX_STAT_ENTRY_INSERT) - deleted;
}

/* ---- locks ----------------------------------------------------------------- */

__cold int mapping_lock_error(int err)
{
	if (err == -ESTALE)
		return stale_error();
	if (err == -EDEADLK)
		return dax_error(err, "a block map called back into its own file, or the "
				 "thread holds an entry lock of it");
	return dax_error(err, "no memory for the thread's counters");
}

int mapping_lock_shared(struct dax_mapping *mapping,
			struct percpu_area **ret_area)
{
	struct percpu_area *area = this_percpu(&mapping->percpu);

	if (unlikely(!area))
		return mapping_lock_error(-ENOMEM);
	*ret_area = area;
	return mapping_relock_shared(mapping, area);
}

int mapping_lock_shared_nested(struct dax_mapping *mapping,
			       struct percpu_area **ret_area)
{
	struct percpu_area *area = this_percpu(&mapping->percpu);
	int ret = percpu_down_read(&mapping->invalidate_lock, area);

	*ret_area = area;
	return ret ? mapping_lock_error(ret) : 0;
}

int mapping_lock_exclusive(struct dax_mapping *mapping)
{
	struct percpu_area *area = this_percpu(&mapping->percpu);

	if (!area)
		return mapping_lock_error(-ENOMEM);
	if (READ_ONCE(area->i_rwsem_held))
		return mapping_lock_error(-EDEADLK);
	return mapping_lock_exclusive_nested(mapping);
}

int mapping_lock_exclusive_nested(struct dax_mapping *mapping)
{
	int ret = percpu_down_write(&mapping->invalidate_lock);

	return ret ? mapping_lock_error(ret) : 0;
}

void mapping_unlock_exclusive(struct dax_mapping *mapping)
{
	percpu_up_write(&mapping->invalidate_lock);
}

/* Stale: in a child it is found here, since there is no bias there. */
__cold int i_rwsem_lock_slow(struct dax_mapping *mapping,
			     struct percpu_area *area, bool write)
{
	int ret;

	if (!area)
		return mapping_lock_error(-ENOMEM);
	if (mapping_is_stale(mapping))
		return stale_error();
	if (mapping_holds_outer(area))
		return mapping_lock_error(-EDEADLK);
	ret = write ? biased_down_write(&mapping->i_rwsem, area)
		    : biased_down_read(&mapping->i_rwsem, area);
	return ret ? mapping_lock_error(ret) : 0;
}

int i_rwsem_lock_exclusive(struct dax_mapping *mapping)
{
	return i_rwsem_lock(mapping, true);
}

/* A child's lock is not the one we took. */
__cold void i_rwsem_unlock_slow(struct dax_mapping *mapping)
{
	struct percpu_area *area = this_percpu(&mapping->percpu);

	if (mapping_is_stale(mapping))
		WRITE_ONCE(area->i_rwsem_held, RWSEM_FREE);
	else
		biased_up_plain(&mapping->i_rwsem, area);
}

int mapping_lock_both(struct dax_mapping *mapping)
{
	int ret = i_rwsem_lock_exclusive(mapping);

	if (ret)
		return ret;
	ret = mapping_lock_exclusive_nested(mapping);
	if (ret)
		i_rwsem_unlock(mapping);
	else
		mapping->layout_seq++;
	return ret;
}

void mapping_unlock_both(struct dax_mapping *mapping)
{
	mapping->layout_seq++;
	mapping_unlock_exclusive(mapping);
	i_rwsem_unlock(mapping);
}

static int lock_in_order(struct dax_mapping *first, struct dax_mapping *second)
{
	int ret = i_rwsem_lock_exclusive(first);

	if (ret)
		return ret;
	ret = i_rwsem_lock_exclusive(second);
	if (ret)
		goto err_first;
	ret = mapping_lock_exclusive_nested(first);
	if (ret)
		goto err_second;
	ret = mapping_lock_exclusive_nested(second);
	if (!ret) {
		first->layout_seq++;
		second->layout_seq++;
		return 0;
	}
	mapping_unlock_exclusive(first);
err_second:
	i_rwsem_unlock(second);
err_first:
	i_rwsem_unlock(first);
	return ret;
}

int mapping_lock_two(struct dax_mapping *a, struct dax_mapping *b)
{
	if (a == b)
		return mapping_lock_both(a);
	return (uintptr_t)a < (uintptr_t)b ? lock_in_order(a, b)
					   : lock_in_order(b, a);
}

void mapping_unlock_two(struct dax_mapping *a, struct dax_mapping *b)
{
	mapping_unlock_both(a);
	if (a != b)
		mapping_unlock_both(b);
}

/* Is the calling thread inside a call on the file, that is in a block map? */
static bool inside(struct dax_mapping *mapping)
{
	struct percpu_area *area = percpu_find_area(&mapping->percpu);

	return percpu_is_writer(&mapping->invalidate_lock) ||
	       (area && mapping_holds_outer(area));
}

int wb_lock(struct dax_mapping *mapping)
{
	if (!this_percpu(&mapping->percpu))
		return mapping_lock_error(-ENOMEM);
	if (mapping_is_stale(mapping))
		return stale_error();
	if (inside(mapping))
		return mapping_lock_error(-EDEADLK);
	mutex_lock(&mapping->wb_lock);
	return 0;
}

void wb_unlock(struct dax_mapping *mapping)
{
	if (!mapping_is_stale(mapping))	/* a child's lock is not the one we took */
		mutex_unlock(&mapping->wb_lock);
}

/* Kernel: errseq_set(). */
void mapping_set_error(struct dax_mapping *mapping, int err)
{
	uint32_t old = READ_ONCE(mapping->wb_err);
	uint32_t new;

	do {
		new = ((old >> 12) + 1) << 12 | (uint32_t)-err;
	} while (!atomic_compare_exchange_weak(&mapping->wb_err, &old, new));
}

/* ---- page tables ------------------------------------------------------------ */

void unmap_mapping_pages(struct dax_mapping *mapping, dax_pgoff_t first,
			 dax_pgoff_t last, bool even_cows)
{
	for (struct dax_vma *vma = mapping->i_mmap; vma; vma = vma->i_mmap_next) {
		dax_pgoff_t from = first, to = last;

		if (clip_to_vma(vma, &from, &to))
			vma->vm_ops->zap(vma, from, to, even_cows);
	}
}

void unmap_private_copies(struct dax_mapping *mapping, dax_pgoff_t first,
			  dax_pgoff_t last)
{
	for (struct dax_vma *vma = mapping->i_mmap; vma; vma = vma->i_mmap_next) {
		dax_pgoff_t from = first, to = last;

		if (!vma_is_shared(vma) && clip_to_vma(vma, &from, &to))
			vma->vm_ops->zap(vma, from, to, true);
	}
}

void forget_stores(struct dax_mapping *mapping, uint64_t pos, uint64_t end)
{
	for (struct dax_vma *vma = mapping->i_mmap; vma; vma = vma->i_mmap_next)
		if (vma->vm_ops->forget_stores)
			vma->vm_ops->forget_stores(vma, pos, end);
}

int merge_stores(struct dax_mapping *mapping, dax_pgoff_t first, dax_pgoff_t last,
		 dax_pfn_t pfn)
{
	struct dax_vma *vma = READ_ONCE(mapping->nr_real) ? mapping->i_mmap : NULL;
	int ret = 0;

	for (; !ret && vma; vma = vma->i_mmap_next)
		if (vma->vm_ops->merge_stores)
			ret = vma->vm_ops->merge_stores(vma, first, last, pfn);
	if (ret)
		mapping_set_error(mapping, ret);
	return ret;
}

void split_zero_leaves(struct dax_mapping *mapping, dax_pgoff_t pgoff)
{
	dax_pgoff_t first = radix_tree_canonical(pgoff, DAX_PMD_ORDER);

	for (struct dax_vma *vma = mapping->i_mmap; vma; vma = vma->i_mmap_next) {
		dax_pgoff_t from = first, to = first + DAX_PMD_NR_PAGES - 1;

		if (!clip_to_vma(vma, &from, &to))
			continue;
		if (vma->vm_ops->split_zero_pmd)
			vma->vm_ops->split_zero_pmd(vma, from);
		else
			vma->vm_ops->zap(vma, from, to, false);
	}
}

void unmap_real_pages(struct dax_mapping *mapping, dax_pgoff_t first,
		      dax_pgoff_t last)
{
	for (struct dax_vma *vma = mapping->i_mmap; vma; vma = vma->i_mmap_next) {
		dax_pgoff_t from = first, to = last;

		if (vma->real && clip_to_vma(vma, &from, &to))
			vma->vm_ops->zap(vma, from, to, false);
	}
}

void collect_dirty_pages(struct dax_mapping *mapping, struct percpu_area *area,
			 dax_pgoff_t first, dax_pgoff_t last)
{
	for (struct dax_vma *vma = mapping->i_mmap; vma; vma = vma->i_mmap_next) {
		dax_pgoff_t from = first, to = last;

		if (vma->vm_ops->collect_dirty && clip_to_vma(vma, &from, &to))
			vma->vm_ops->collect_dirty(vma, area, from, to);
	}
}

void prefetch_mapping_entries(struct dax_mapping *mapping,
			      const struct radix_tree_iter *iter, unsigned int nr)
{
	for (struct dax_vma *vma = mapping->i_mmap; vma; vma = vma->i_mmap_next)
		if (vma->vm_ops->prefetch)
			vma->vm_ops->prefetch(vma, iter, nr);
}

bool mkclean_mapping_entries(struct dax_mapping *mapping,
			     const struct radix_tree_iter *iter, unsigned int nr)
{
	bool changed = false;

	for (struct dax_vma *vma = mapping->i_mmap; vma; vma = vma->i_mmap_next)
		if (vma_is_shared(vma))
			changed |= vma->vm_ops->mkclean(vma, iter, nr);
	return changed;
}

/* ---- the device's death ------------------------------------------------------ */

/* Wait until every call in progress on @mapping has left. */
static int drain(struct dax_mapping *mapping)
{
	int ret;

	/* Who waits for a thaw looks at the device again. */
	atomic_fetch_add(&mapping->frozen, FREEZE_SEQUENCE);
	futex_wake(&mapping->frozen, INT32_MAX);
	ret = i_rwsem_lock_exclusive(mapping);
	if (ret)
		return ret;
	ret = mapping_lock_exclusive_nested(mapping);
	if (!ret)
		mapping_unlock_exclusive(mapping);
	i_rwsem_unlock(mapping);
	return ret;
}

bool mapping_get_unless_zero(struct dax_mapping *mapping)
{
	unsigned int old = READ_ONCE(mapping->refs);

	while (old)
		if (atomic_compare_exchange_weak(&mapping->refs, &old, old + 1))
			return true;
	return false;
}

static bool inside_any(void)
{
	bool found = false;

	mutex_lock(&registry);
	for (struct dax_mapping *m = registered; m && !found; m = m->next_registered)
		found = inside(m);
	mutex_unlock(&registry);
	return found;
}

/* A file that was not drained in this round, with a reference; or NULL. */
static struct dax_mapping *next_to_drain(uint64_t round)
{
	struct dax_mapping *mapping;

	mutex_lock(&registry);
	for (mapping = registered; mapping; mapping = mapping->next_registered)
		if (mapping->drain_round < round && mapping_get_unless_zero(mapping))
			break;
	if (mapping)
		mapping->drain_round = round;
	mutex_unlock(&registry);
	return mapping;
}

static uint64_t next_round(void)
{
	static uint64_t rounds;	/* guarded by the registry */
	uint64_t round;

	mutex_lock(&registry);
	round = ++rounds;
	mutex_unlock(&registry);
	return round;
}

/* All files of the process are drained, since a block map may point into any
 * device.  Files made meanwhile meet a dead device. */
int device_kill(struct dax_device *dev)
{
	struct dax_mapping *mapping;
	uint64_t round;
	int ret = 0;

	if (dev->fork_generation != sys_fork_generation)
		return stale_error();
	if (inside_any())
		return mapping_lock_error(-EDEADLK);
	smp_store_release(&dev->alive, false);
	round = next_round();
	while (!ret && (mapping = next_to_drain(round))) {
		ret = drain(mapping);
		mapping_put(mapping);
	}
	return ret;
}
