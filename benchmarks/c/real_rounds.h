/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * real_rounds.h -- memory with addresses, touched page by page
 *
 * A round maps fresh memory, touches every 4 KiB page once, loads from each once
 * more, and takes everything down again.  Mapping and both passes are timed
 * apart.
 */
#ifndef REAL_ROUNDS_H
#define REAL_ROUNDS_H

#include "daxcore.h"

/* Whose memory it is. */
enum real_owner {
	REAL_ENGINE,		/* daxcore, backend real */
	REAL_SPARSE,		/* the same of a sparse file, opened by name */
	REAL_FILE,		/* mmap(2) of a sparse file */
	REAL_ANONYMOUS,		/* MADV_NOHUGEPAGE: the kernel's 4 KiB zero page */
	REAL_ANONYMOUS_HUGE,	/* MADV_HUGEPAGE: the kernel's 2 MiB zero page */
	REAL_NR_OWNERS
};

struct real_round {
	int owner;		/* enum real_owner */
	int write;		/* the timed touch is a store */
	int load_before;	/* a load from every page that is not timed */
	int fd;			/* REAL_FILE: grows and is emptied again */
	const char *path;	/* REAL_SPARSE: the same */
	uint64_t nr_pages;	/* 4 KiB, > 0 */
	const uint64_t *order;	/* all pages in random order; NULL: in sequence */
	/* REAL_ENGINE, REAL_SPARSE: as in struct dax_vma_attr */
	unsigned int flags;
	unsigned int pages;
	unsigned int delivery;
	uint64_t fault_around;
};

struct real_result {
	uint64_t map_ns;
	uint64_t touch_ns;
	uint64_t again_ns;	/* loads from what has been touched */
};

/* @dev: room for the pages that are stored to; of REAL_ENGINE alone.
 * 0 or -errno. */
DAX_API int real_round(struct dax_device *dev, const struct real_round *round,
		       struct real_result *ret_result);

/* A load from each of @nr_pages at @start. */
DAX_API void real_load_pages(const char *start, uint64_t nr_pages);

#endif
