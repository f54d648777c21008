/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * page_set.c -- a set of page numbers, small where it is uniform
 *
 * Owns: the two arrays.
 * Locks: none; writers are serialised by the caller, readers need nothing.  A
 *        bit a reader meets was true at some moment of its call, since the bits
 *        of a chunk are filled before the chunk is said to be MIXED.
 * Kernel: none.
 */
#include "page_set.h"

#include <errno.h>

#include "errormsg.h"

enum { CHUNK_WORDS = PAGE_SET_CHUNK_PAGES / 64, CHUNK_BYTES = CHUNK_WORDS * 8 };

static size_t words_bytes(const struct page_set *set)
{
	return set->nr_chunks * CHUNK_BYTES;
}

int page_set_init(struct page_set *set, uint64_t nr_pages)
{
	void *chunks, *words;

	*set = (struct page_set){
		.nr_chunks = (nr_pages + PAGE_SET_CHUNK_PAGES - 1) >> PAGE_SET_CHUNK_SHIFT,
	};
	if (sys_reserve(&chunks, set->nr_chunks))
		goto err;
	if (sys_reserve(&words, words_bytes(set)))
		goto err_unreserve;
	set->chunks = chunks;
	set->words = words;
	return 0;

err_unreserve:
	sys_unreserve(chunks, set->nr_chunks);
err:
	return dax_error(-ENOMEM, "no address space for the holes of %llu pages",
			 (unsigned long long)nr_pages);
}

void page_set_fini(struct page_set *set)
{
	sys_unreserve((void *)set->chunks, set->nr_chunks);
	sys_unreserve((void *)set->words, words_bytes(set));
}

uint64_t page_set_bytes(const struct page_set *set)
{
	return set->nr_chunks + READ_ONCE(set->nr_mixed) * CHUNK_BYTES;
}

/* ---- asking ------------------------------------------------------------------ */

static dax_pgoff_t chunk_end(dax_pgoff_t page, dax_pgoff_t last)
{
	dax_pgoff_t end = page | (PAGE_SET_CHUNK_PAGES - 1);

	return end < last ? end : last;
}

/* First page of [page, end], all in one MIXED chunk, that is not @in; or
 * @end + 1. */
static dax_pgoff_t scan_words(const struct page_set *set, dax_pgoff_t page,
			      dax_pgoff_t end, bool in)
{
	while (page <= end) {
		uint64_t word = smp_load_acquire(&set->words[page / 64]);

		word = (in ? ~word : word) >> (page % 64);
		if (word) {
			page += (dax_pgoff_t)__builtin_ctzll(word);
			return page <= end ? page : end + 1;
		}
		page = (page | 63) + 1;
	}
	return end + 1;
}

bool page_set_run(const struct page_set *set, dax_pgoff_t first,
		  dax_pgoff_t last, uint64_t *ret_nr)
{
	bool in = page_set_test(set, first);
	dax_pgoff_t page = first + 1;

	while (page <= last) {
		uint8_t state = smp_load_acquire(&set->chunks[page >> PAGE_SET_CHUNK_SHIFT]);
		dax_pgoff_t end = chunk_end(page, last);

		if (state == PAGE_SET_MIXED)
			page = scan_words(set, page, end, in);
		else if ((state == PAGE_SET_ALL) == in)
			page = end + 1;
		else
			end = page;
		if (page <= end)
			break;
	}
	*ret_nr = page - first;
	return in;
}

/* ---- changing ----------------------------------------------------------------- */

static void set_bits(struct page_set *set, dax_pgoff_t first, dax_pgoff_t last,
		     bool in)
{
	while (first <= last) {
		_Atomic uint64_t *word = &set->words[first / 64];
		uint64_t nr = last - first + 1;
		uint64_t mask = UINT64_MAX << (first % 64);

		if (nr < 64 - first % 64)
			mask &= ~(UINT64_MAX << (first % 64 + nr));
		smp_store_release(word, in ? READ_ONCE(*word) | mask
					   : READ_ONCE(*word) & ~mask);
		first = (first | 63) + 1;
	}
}

/* The chunk gets bits of its own, all alike at first. */
static void make_mixed(struct page_set *set, uint64_t chunk, bool in)
{
	dax_pgoff_t first = chunk << PAGE_SET_CHUNK_SHIFT;

	set_bits(set, first, first + PAGE_SET_CHUNK_PAGES - 1, in);
	atomic_fetch_add_explicit(&set->nr_mixed, 1, memory_order_relaxed);
	smp_store_release(&set->chunks[chunk], PAGE_SET_MIXED);
}

static void assign_part(struct page_set *set, dax_pgoff_t first,
			dax_pgoff_t last, bool in)
{
	uint64_t chunk = first >> PAGE_SET_CHUNK_SHIFT;
	uint8_t state = READ_ONCE(set->chunks[chunk]);

	if (state == (in ? PAGE_SET_ALL : PAGE_SET_NONE))
		return;
	if (state != PAGE_SET_MIXED)
		make_mixed(set, chunk, state == PAGE_SET_ALL);
	set_bits(set, first, last, in);
}

static void assign_chunk(struct page_set *set, uint64_t chunk, bool in)
{
	if (READ_ONCE(set->chunks[chunk]) == PAGE_SET_MIXED) {
		atomic_fetch_sub_explicit(&set->nr_mixed, 1, memory_order_relaxed);
		sys_discard((void *)&set->words[chunk * CHUNK_WORDS], CHUNK_BYTES);
	}
	smp_store_release(&set->chunks[chunk], in ? PAGE_SET_ALL : PAGE_SET_NONE);
}

void page_set_add(struct page_set *set, dax_pgoff_t first, dax_pgoff_t last)
{
	while (first <= last) {
		dax_pgoff_t end = chunk_end(first, last);

		assign_part(set, first, end, true);
		first = end + 1;
	}
}

void page_set_assign(struct page_set *set, dax_pgoff_t first, dax_pgoff_t last,
		     bool in)
{
	while (first <= last) {
		dax_pgoff_t end = chunk_end(first, last);

		if (end - first == PAGE_SET_CHUNK_PAGES - 1)
			assign_chunk(set, first >> PAGE_SET_CHUNK_SHIFT, in);
		else
			assign_part(set, first, end, in);
		first = end + 1;
	}
}
