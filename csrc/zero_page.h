/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zero_page.h -- the common 4 KiB and 2 MiB zero frames
 *
 * Both lie in one read-only anonymous mapping that nothing ever writes, so
 * the kernel backs them with its own zero page: they cost no memory, and a
 * stray store into them is a crash rather than a corruption.
 */
#ifndef DAXCORE_ZERO_PAGE_H
#define DAXCORE_ZERO_PAGE_H

#include <stdbool.h>

/* Address of PFN 0 of the reserved range: DAX_ZERO_PFN and
 * DAX_HUGE_ZERO_PFN lie at their distance from it.  NULL: there was no
 * address space for it. */
void *zero_page_base(void);

/* Is there a 4 KiB / a 2 MiB zero frame? */
bool zero_page_present(void);
bool huge_zero_page_present(void);

#endif
