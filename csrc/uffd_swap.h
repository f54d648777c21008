/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uffd_swap.h -- empty registered memory in place of what is there, at once
 *
 * What mmap(2) makes is registered afterwards, and who touches it in between is
 * not told of.  What mremap(2) moves stays registered, but the call sleeps until
 * its event has been read.  The thread that serves touches cannot be relied on
 * for that: it may be waiting for a lock of the caller's.
 */
#ifndef DAXCORE_UFFD_SWAP_H
#define DAXCORE_UFFD_SWAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory that is to be moved: registered with @fd, open, without pages. */
struct uffd_spare {
	int fd;		/* can UFFD_KEEPS_REMAP */
	char *start;	/* NULL: there is none */
	size_t length;
	char *area;	/* what it is for: touches come from there */
	size_t area_len;
	bool touched;	/* has zero pages: swap_lock */
};

/*
 * Memory as that of @spare stands at [@addr, @addr + @len), and what stood there is
 * gone; each page has the one or the other at any time, and @spare is what it was.
 * Touches that are on their way come again.
 * Context: any lock may be held; not from the thread of this module.
 * Return: 0; -ENOMEM: too many areas, or no thread; then some may be gone.
 */
int uffd_swap(struct uffd_spare *spare, char *addr, size_t len);

/*
 * Somebody touches @spare itself: mlockall(2) does, and who reads all of a process.
 * Nobody has use for what is there, but sleeps until there is something.
 */
void uffd_swap_touched(struct uffd_spare *spare, uintptr_t address);

/* Before @spare's descriptor is closed: nobody reads it any more. */
void uffd_swap_end(void);

#endif
