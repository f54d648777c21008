/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock_entry.c -- an entry lock held by a caller of the library
 *
 * Owns: the cookies.
 * Locks: invalidate_lock shared and one entry lock, both from lock to unlock,
 *        across returns to the caller.  The area of the thread says `reading`
 *        all the time: a second call of the thread on the file gets -EDEADLK,
 *        and when the thread ends nobody takes the area over (percpu.c).
 * Kernel: fs/dax.c, dax_lock_mapping_entry() and dax_unlock_mapping_entry()
 *         (v6.0).
 * Differs: makes an entry where there is none; the file is held, so a waiter
 *          cannot come back to one that is gone.
 */
#include "lock_entry.h"

#include <errno.h>
#include <inttypes.h>

#include "collect.h"
#include "errormsg.h"

static int check_place(struct dax_mapping *mapping, dax_pgoff_t index,
		       unsigned int order)
{
	dax_pgoff_t pages = mapping_max_pgoff(mapping);
	dax_pgoff_t first = radix_tree_canonical(index, order);

	if (first < pages && pages - first >= (dax_pgoff_t)1 << order)
		return 0;
	return dax_error(-EINVAL, "page %" PRIu64 " and the %" PRIu64 " after it are not "
			 "all in the file (%" PRIu64 " pages)", first,
			 ((dax_pgoff_t)1 << order) - 1, pages);
}

/* A touch of real memory cannot be refused: it would wait for the holder, who may
 * be the toucher, or want the GIL that the toucher has.  invalidate_lock held. */
static int refuse_real(const struct dax_mapping *mapping)
{
	if (!READ_ONCE(mapping->nr_real))
		return 0;
	return dax_error(-EBUSY, "the file has a real mapping: a touch of its memory "
			 "would wait for the entry lock, and could not be refused");
}

/* invalidate_lock shared. */
static int grab(struct dax_slot *slot, unsigned int order)
{
	int ret = refuse_real(slot->mapping);

	if (!ret)
		ret = check_place(slot->mapping, slot->index, order);
	if (!ret)
		ret = grab_mapping_entry(slot, order);
	if (ret == -EEXIST)
		return dax_error(ret, "entries of 4 KiB stand in the 2 MiB from page %"
				 PRIu64, slot->index);
	return ret;
}

static int lock_with(struct dax_entry_cookie *cookie, struct dax_mapping *mapping,
		     dax_pgoff_t index, unsigned int order)
{
	struct percpu_area *area;
	int ret = mapping_lock_shared(mapping, &area);

	if (ret)
		return ret;
	dax_slot_init(&cookie->slot, mapping, area, radix_tree_canonical(index, order));
	ret = grab(&cookie->slot, order);
	if (ret)
		mapping_unlock_shared(mapping, area);
	return ret;
}

int lock_mapping_entry(struct dax_mapping *mapping, dax_pgoff_t index,
		       unsigned int order, struct dax_entry_cookie **ret_cookie)
{
	struct dax_entry_cookie *cookie;
	int ret;

	if (order && order != DAX_PMD_ORDER)
		return dax_error(-EINVAL, "order %u is neither 0 nor %d", order,
				 DAX_PMD_ORDER);
	cookie = dax_zalloc(sizeof(*cookie));
	if (!cookie)
		return dax_error(-ENOMEM, "no memory for a cookie");
	ret = lock_with(cookie, mapping, index, order);
	if (ret) {
		dax_free(cookie);
		return ret;
	}
	mapping_get(mapping);
	note_empty_entry(&cookie->slot);
	*ret_cookie = cookie;
	return 0;
}

int drop_mapping_entry(struct dax_entry_cookie *cookie,
		       struct dax_mapping **ret_mapping)
{
	struct dax_mapping *mapping = cookie->slot.mapping;

	if (mapping_is_stale(mapping))
		return mapping_lock_error(-ESTALE);
	put_locked_mapping_entry(&cookie->slot);
	mapping_unlock_shared(mapping, cookie->slot.area);
	dax_free(cookie);
	*ret_mapping = mapping;
	return 0;
}

int unlock_mapping_entry(struct dax_entry_cookie *cookie,
			 struct dax_mapping **ret_mapping)
{
	struct percpu *percpu = &cookie->slot.mapping->percpu;

	if (percpu_find_area(percpu) != cookie->slot.area)
		return dax_error(-EPERM, "page %" PRIu64 ": the entry was locked by "
				 "another thread", cookie->slot.index);
	return drop_mapping_entry(cookie, ret_mapping);
}
