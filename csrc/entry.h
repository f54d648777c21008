/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * entry.h -- make, test and convert entry words; pure functions
 *
 *   63                              6   5     4     3     2    1 0
 *  +---------------------------------+-----+-----+-----+------+----+
 *  |              PFN                |EMPTY|ZERO | PMD |LOCKED| 10 |
 *  +---------------------------------+-----+-----+-----+------+----+
 *
 * Neither ZERO nor EMPTY: a data entry, it has a block.  Never both.
 * Kernel: fs/dax.c "radix tree entry" helpers (v4.14), with a PFN in the
 * payload as since v4.17.
 */
#ifndef DAXCORE_ENTRY_H
#define DAXCORE_ENTRY_H

#include <stdbool.h>

#include "daxcore/types.h"

static inline void *dax_to_slot(dax_entry_t word)
{
	return (void *)(uintptr_t)word;
}

static inline dax_entry_t dax_from_slot(const void *entry)
{
	return (dax_entry_t)(uintptr_t)entry;
}

/* A new entry is always born locked. */
static inline void *dax_radix_locked_entry(dax_pfn_t pfn, unsigned int flags)
{
	return dax_to_slot(pfn << DAX_ENTRY_SHIFT | flags | DAX_LOCKED |
			   DAX_EXCEPTIONAL);
}

static inline dax_pfn_t dax_radix_pfn(const void *entry)
{
	return dax_from_slot(entry) >> DAX_ENTRY_SHIFT;
}

static inline bool dax_is_locked(const void *entry)
{
	return dax_from_slot(entry) & DAX_LOCKED;
}

static inline bool dax_is_pmd_entry(const void *entry)
{
	return dax_from_slot(entry) & DAX_PMD;
}

static inline bool dax_is_zero_entry(const void *entry)
{
	return dax_from_slot(entry) & DAX_ZERO_PAGE;
}

static inline bool dax_is_empty_entry(const void *entry)
{
	return dax_from_slot(entry) & DAX_EMPTY;
}

static inline bool dax_is_data_entry(const void *entry)
{
	return !(dax_from_slot(entry) & (DAX_ZERO_PAGE | DAX_EMPTY));
}

static inline unsigned int dax_radix_order(const void *entry)
{
	return dax_is_pmd_entry(entry) ? DAX_PMD_ORDER : 0;
}

static inline void *dax_lock_word(const void *entry)
{
	return dax_to_slot(dax_from_slot(entry) | DAX_LOCKED);
}

static inline void *dax_unlock_word(const void *entry)
{
	return dax_to_slot(dax_from_slot(entry) & ~(dax_entry_t)DAX_LOCKED);
}

#endif
