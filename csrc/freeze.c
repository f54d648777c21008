/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * freeze.c -- a file that nobody may change for a while
 *
 *   unfrozen --freeze--> FREEZING --all is written back--> FROZEN --thaw--+
 *      ^                    | error                                       |
 *      +--------------------+---------------------------------------------+
 *
 * Owns: mapping->frozen.
 * Locks: the state is left with i_rwsem and invalidate_lock exclusive: whoever
 *        changes the file looks at it under one of them, so who saw it unfrozen
 *        has finished.  Who must wait holds nothing.
 * Kernel: freeze_super(), thaw_super(), sb_start_pagefault() (v4.14).
 * Differs: a file, not a file system; no level per kind of writer, since all
 *          take one of two locks anyway.
 */
#include "freeze.h"

#include <errno.h>

#include "errormsg.h"
#include "writeback.h"

/* ---- waiting ------------------------------------------------------------------ */

int freeze_wait(struct dax_mapping *mapping)
{
	struct dax_device *dev = mapping->dax_dev;
	uint32_t word;

	while ((word = atomic_load(&mapping->frozen)) & FREEZE_STATE) {
		/* After the word: device_kill() changes it when it is dead. */
		if (!smp_load_acquire(&dev->alive))
			return dax_error(-ENXIO, "%s: the device is dead", dev->path);
		dax_test_yield(DAX_TEST_FROZEN);
		if (futex_wait_interruptible(&mapping->frozen, word) == -EINTR)
			return dax_error(-EINTR, "a signal came while the file was frozen");
	}
	return 0;
}

int i_rwsem_lock_write(struct dax_mapping *mapping)
{
	int ret = i_rwsem_lock(mapping, true);

	while (unlikely(!ret && mapping_is_frozen(mapping))) {
		i_rwsem_unlock(mapping);
		ret = freeze_wait(mapping);
		if (!ret)
			ret = i_rwsem_lock_exclusive(mapping);
	}
	return ret;
}

/* ---- freezing ------------------------------------------------------------------- */

/* Both locks exclusive. */
static int set_freezing(struct dax_mapping *mapping)
{
	if (mapping_is_frozen(mapping))
		return dax_error(-EBUSY, "the file is frozen already");
	atomic_fetch_add(&mapping->frozen, FREEZE_FREEZING);
	return 0;
}

/* Returns when every change that was begun has been made. */
static int freeze_begin(struct dax_mapping *mapping)
{
	int ret = i_rwsem_lock_exclusive(mapping);

	if (ret)
		return ret;
	ret = mapping_lock_exclusive_nested(mapping);
	if (!ret) {
		ret = set_freezing(mapping);
		if (!ret)
			unmap_real_pages(mapping, 0, UINT64_MAX >> DAX_PAGE_SHIFT);
		mapping_unlock_exclusive(mapping);
	}
	i_rwsem_unlock(mapping);
	return ret;
}

/* Leave @state; false: it was another. */
static bool freeze_end(struct dax_mapping *mapping, uint32_t state)
{
	uint32_t old = READ_ONCE(mapping->frozen);

	do {
		if ((old & FREEZE_STATE) != state)
			return false;
	} while (!atomic_compare_exchange_weak(&mapping->frozen, &old,
					       (old & ~(uint32_t)FREEZE_STATE) +
						       FREEZE_SEQUENCE));
	futex_wake(&mapping->frozen, INT32_MAX);
	return true;
}

/* Writeback leaves no leaf writable, so from then on every store is a fault. */
int mapping_freeze(struct dax_mapping *mapping)
{
	int ret = freeze_begin(mapping);

	if (ret)
		return ret;
	dax_test_yield(DAX_TEST_FREEZING);
	ret = mapping_fsync(mapping, NULL);
	if (ret)
		freeze_end(mapping, FREEZE_FREEZING);
	else
		atomic_fetch_add(&mapping->frozen, FREEZE_FROZEN - FREEZE_FREEZING);
	return ret;
}

int mapping_thaw(struct dax_mapping *mapping)
{
	if (mapping_is_stale(mapping))
		return mapping_lock_error(-ESTALE);
	if (!freeze_end(mapping, FREEZE_FROZEN))
		return dax_error(-EINVAL, "the file is not frozen");
	return 0;
}
