/* SPDX-License-Identifier: BSD-3-Clause */
/* fault_around.h -- resolve the faults of a run of pages in one pass */
#ifndef DAXCORE_FAULT_AROUND_H
#define DAXCORE_FAULT_AROUND_H

#include "vma.h"

/* Pages of a run, at most: those of a page table. */
enum { FAULT_AROUND_MAX = DAX_PMD_NR_PAGES };

/*
 * Bring in the pages [first, first + nr), or the first of them: ask the block
 * map once, insert leaves by one insert_run().  A load shows what is there.  For
 * a store vmf->pgoff is @first and becomes DIRTY; blocks are taken for holes
 * that follow it, and those pages are AHEAD, writable at once (ahead.h).
 *
 * The run ends before the vma, the file, the 2 MiB of address space and the
 * extent do, and before the first entry that is locked, of 2 MiB or a page (of
 * @first: it is waited for).  What fails is for the ordinary fault to meet and
 * to report; so is all of a file that is frozen or of the page-cache policy, of
 * a vma that is private and writable, synchronous, or of 2 MiB pages alone, and
 * a store to a file that cannot give blocks back or took part in a clone.
 *
 * Context: as iomap_fault(): invalidate_lock shared, no entry locked.
 * Return: pages brought in, from @first on; 0: take the ordinary fault.
 * Kernel: do_fault_around(), of loads alone.
 */
unsigned int iomap_fault_around(struct dax_vm_fault *vmf, dax_pgoff_t first,
				unsigned int nr);

/* Faults that follow one another in a vma; 0 at first.  Belongs to the caller. */
struct fault_streak {
	dax_pgoff_t next;	/* page that would go on with it */
	unsigned int nr;	/* pages of the last run asked for */
};

/* How many pages a fault at @pgoff is to bring in: 1, 8, 64, 512. */
static inline unsigned int fault_streak_begin(struct fault_streak *streak,
					      dax_pgoff_t pgoff)
{
	if (!streak->nr || pgoff != streak->next)
		streak->nr = 1;
	else if (streak->nr < FAULT_AROUND_MAX)
		streak->nr *= 8;
	return streak->nr;
}

/* How many it did. */
static inline void fault_streak_end(struct fault_streak *streak,
				    dax_pgoff_t pgoff, uint64_t nr)
{
	streak->next = pgoff + nr;
}

#endif
