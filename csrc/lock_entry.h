/* SPDX-License-Identifier: BSD-3-Clause */
/* lock_entry.h -- an entry lock held by a caller of the library */
#ifndef DAXCORE_LOCK_ENTRY_H
#define DAXCORE_LOCK_ENTRY_H

#include "entry_lock.h"

struct dax_entry_cookie {
	struct dax_slot slot;	/* locked; its area has `reading` set */
};

/*
 * Lock the entry of a page, or with DAX_PMD_ORDER that of its 2 MiB, and keep
 * invalidate_lock shared: until it is unlocked the thread may make no other
 * call on the file.  The cookie holds the file.
 *
 * Context: no lock of the file held; sleeps for the entry.
 * Return: 0; -EINVAL (order, or past the end of file), -EEXIST (4 KiB entries
 * stand in the 2 MiB), -EIO, -ENOMEM, -EDEADLK, -ESTALE.
 * Kernel: dax_lock_mapping_entry() (v6.0).
 */
int lock_mapping_entry(struct dax_mapping *mapping, dax_pgoff_t index,
		       unsigned int order, struct dax_entry_cookie **ret_cookie);

/*
 * Unlock and free the cookie; *ret_mapping is the file, with the cookie's
 * reference.  0; -EPERM: another thread has locked it; -ESTALE.  On an error
 * the cookie is as it was.
 */
int unlock_mapping_entry(struct dax_entry_cookie *cookie,
			 struct dax_mapping **ret_mapping);

/* The same on behalf of whatever thread has locked it. */
int drop_mapping_entry(struct dax_entry_cookie *cookie,
		       struct dax_mapping **ret_mapping);

#endif
