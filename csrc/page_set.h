/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * page_set.h -- a set of page numbers, small where it is uniform
 *
 *   chunk (32768 pages, 128 MiB)   0     1     2     3
 *                                +-----+-----+-----+-----+
 *   a byte each                  |NONE |MIXED| ALL |NONE |
 *                                +-----+--+--+-----+-----+
 *                                         |
 *   4 KiB of bits, MIXED only          0011101...
 *
 * Both arrays are reserved address space: what was never touched costs
 * nothing.  At most a bit per page, 32 KiB per GiB.
 */
#ifndef DAXCORE_PAGE_SET_H
#define DAXCORE_PAGE_SET_H

#include "daxcore/types.h"
#include "sys.h"

enum {
	PAGE_SET_CHUNK_SHIFT = 15,	/* pages of a chunk: its bits are 4 KiB */
	PAGE_SET_CHUNK_PAGES = 1 << PAGE_SET_CHUNK_SHIFT
};

enum page_set_state { PAGE_SET_NONE, PAGE_SET_ALL, PAGE_SET_MIXED };

struct page_set {
	_Atomic uint8_t *chunks;	/* enum page_set_state */
	_Atomic uint64_t *words;
	uint64_t nr_chunks;
	_Atomic uint64_t nr_mixed;
};

/* An empty set of pages 0 to @nr_pages - 1.  0 or -ENOMEM. */
int page_set_init(struct page_set *set, uint64_t nr_pages);
void page_set_fini(struct page_set *set);

/* Bytes of memory it takes. */
uint64_t page_set_bytes(const struct page_set *set);

/* Is @page in it?  No lock; true at some moment of the call. */
static inline bool page_set_test(const struct page_set *set, dax_pgoff_t page)
{
	uint8_t state = smp_load_acquire(&set->chunks[page >> PAGE_SET_CHUNK_SHIFT]);

	if (likely(state != PAGE_SET_MIXED))
		return state == PAGE_SET_ALL;
	return smp_load_acquire(&set->words[page / 64]) >> (page % 64) & 1;
}

/* Is @first in it?  Pages from @first to @last of which the same is true, in
 * *ret_nr.  No lock. */
bool page_set_run(const struct page_set *set, dax_pgoff_t first,
		  dax_pgoff_t last, uint64_t *ret_nr);

/* Put in pages @first to @last, beside readers; writers one at a time. */
void page_set_add(struct page_set *set, dax_pgoff_t first, dax_pgoff_t last);

/* Put in or take out, with no reader inside: gives memory back. */
void page_set_assign(struct page_set *set, dax_pgoff_t first, dax_pgoff_t last,
		     bool in);

#endif
