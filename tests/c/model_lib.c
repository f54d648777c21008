/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * model_lib.c -- the inside of the library, for the state machines in Python
 *
 * Linked with all of csrc into a libdaxcore.so.0 that takes the place of the
 * real one (LD_PRELOAD): Device, File and Mmap then work on objects whose
 * invariants can be checked here.  tests/model/library.py has the other side.
 */
#define TAP_PRINTF model_say

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define MODEL_API __attribute__((visibility("default")))

static void model_say(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

#include "invariants.h"
#include "oom.h"

/* What an iterator says, for ctypes. */
struct model_place {
	uint64_t index;
	uint64_t order;
	uint64_t entry;		/* 0: none, low bits 01: a node */
};

MODEL_API const char *model_report(void);
MODEL_API int model_check(struct dax_mapping *mapping);
MODEL_API int model_check_after_fsync(struct dax_mapping *mapping,
				      uint64_t first, uint64_t last);
MODEL_API int model_check_owners(struct dax_device *dev,
				 struct dax_mapping *const *files,
				 unsigned int n);
MODEL_API unsigned int model_tree_shift(void);
MODEL_API void model_fail_nth(unsigned int n);
MODEL_API int model_fail_clear(void);
MODEL_API struct radix_tree_root *model_tree_new(uint64_t maxindex);
MODEL_API void model_tree_free(struct radix_tree_root *root);
MODEL_API int model_tree_check(struct radix_tree_root *root, int exact);
MODEL_API int model_tree_insert(struct radix_tree_root *root, uint64_t index,
				unsigned int order, uint64_t entry,
				struct model_place *place);
MODEL_API int model_tree_walk(struct radix_tree_root *root, uint64_t index,
			      unsigned int order, struct model_place *place);
MODEL_API uint64_t model_tree_lookup(struct radix_tree_root *root,
				     uint64_t index);
MODEL_API int model_tree_next(struct radix_tree_root *root, uint64_t index,
			      uint64_t last, int tag, struct model_place *place);
MODEL_API void model_tree_store(struct radix_tree_root *root, uint64_t index,
				uint64_t entry);
MODEL_API int model_tree_split(struct radix_tree_root *root, uint64_t index,
			       uint64_t entry, struct model_place *place);
MODEL_API void model_tree_set_tag(struct radix_tree_root *root, uint64_t index,
				  int tag, int on);
MODEL_API int model_tree_get_tag(struct radix_tree_root *root, uint64_t index,
				 int tag);
MODEL_API int model_tree_tagged(struct radix_tree_root *root, int tag);
MODEL_API int model_tree_extend(struct radix_tree_root *root, uint64_t maxindex);
MODEL_API uint64_t model_tree_maxindex(struct radix_tree_root *root);
MODEL_API uint64_t model_tree_nodes(struct radix_tree_root *root);
MODEL_API uint64_t model_tree_delete_range(struct radix_tree_root *root,
					   uint64_t first, uint64_t last,
					   uint64_t keep_every);
MODEL_API void model_tree_prune(struct radix_tree_root *root);
MODEL_API int model_tree_split_range(struct radix_tree_root *root,
				     uint64_t index, uint64_t first,
				     uint64_t last, int discard);
MODEL_API unsigned int model_tree_gang(struct radix_tree_root *root,
				       uint64_t index, uint64_t last, int tag,
				       int clear, uint64_t *indices,
				       unsigned int nr);

/* ---- reports ------------------------------------------------------------------ */

static char report[8192];
static size_t report_len;

/* Also to stderr: after MUST nobody asks for the report. */
static void model_say(const char *format, ...)
{
	char line[512];
	va_list args;
	int n;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	n = snprintf(report + report_len, sizeof(report) - report_len, "%s", line);
	if (n > 0 && report_len + (size_t)n < sizeof(report)) {
		report_len += (size_t)n;
		fputs(line, stderr);
	}
}

static void begin_check(void)
{
	tap_bad = 0;
	report_len = 0;
	report[0] = '\0';
}

const char *model_report(void)
{
	return report;
}

/* ---- files ---------------------------------------------------------------------- */

/* How many invariants do not hold. */
int model_check(struct dax_mapping *mapping)
{
	begin_check();
	check_invariants(mapping);
	check_leaf_bytes(mapping);
	check_addresses(mapping);
	check_wait_table();
	return tap_bad;
}

int model_check_after_fsync(struct dax_mapping *mapping, uint64_t first,
			    uint64_t last)
{
	begin_check();
	check_after_fsync(mapping, first, last);
	return tap_bad;
}

/* @files: all of the device. */
int model_check_owners(struct dax_device *dev, struct dax_mapping *const *files,
		       unsigned int n)
{
	begin_check();
	check_owners(dev, files, n);
	return tap_bad;
}

unsigned int model_tree_shift(void)
{
	return RADIX_TREE_MAP_SHIFT;
}

/* The @n-th allocation from now on fails. */
void model_fail_nth(unsigned int n)
{
	oom_fail_nth(n);
}

/* From now on none fails; did one? */
int model_fail_clear(void)
{
	oom_clear();
	return oom_fired();
}

/* ---- a tree alone ------------------------------------------------------------------ */

struct radix_tree_root *model_tree_new(uint64_t maxindex)
{
	struct radix_tree_root *root = calloc(1, sizeof(*root));

	if (root)
		radix_tree_init(root, maxindex);
	return root;
}

void model_tree_free(struct radix_tree_root *root)
{
	radix_tree_destroy(root);
	free(root);
}

/* @exact: no exclusive section is owed.  How many invariants do not hold. */
int model_tree_check(struct radix_tree_root *root, int exact)
{
	begin_check();
	if (exact)
		check_tree_exact(root);
	else
		check_tree(root);
	return tap_bad;
}

static void fill_place(struct model_place *place,
		       const struct radix_tree_iter *iter)
{
	place->index = iter->index;
	place->order = iter->order;
	place->entry = (uint64_t)(uintptr_t)iter->entry;
}

int model_tree_insert(struct radix_tree_root *root, uint64_t index,
		      unsigned int order, uint64_t entry,
		      struct model_place *place)
{
	struct radix_tree_iter iter = { 0 };
	int ret = radix_tree_insert(root, index, order, (void *)(uintptr_t)entry,
				    &iter);

	fill_place(place, &iter);
	return ret;
}

int model_tree_walk(struct radix_tree_root *root, uint64_t index,
		    unsigned int order, struct model_place *place)
{
	struct radix_tree_iter iter = { 0 };
	bool found = radix_tree_walk(root, index, order, &iter);

	fill_place(place, &iter);
	return found;
}

uint64_t model_tree_lookup(struct radix_tree_root *root, uint64_t index)
{
	return (uint64_t)(uintptr_t)radix_tree_lookup(root, index);
}

/* @tag: -1 for any entry. */
int model_tree_next(struct radix_tree_root *root, uint64_t index, uint64_t last,
		    int tag, struct model_place *place)
{
	struct radix_tree_iter iter = { 0 };
	bool found = tag < 0 ? radix_tree_next(root, index, last, &iter)
			     : radix_tree_next_tagged(root, index, last,
						      (enum radix_tree_tag)tag,
						      &iter);

	fill_place(place, &iter);
	return found;
}

/* The entry at @index; the caller's dict says that there is one. */
static struct radix_tree_iter entry_at(struct radix_tree_root *root,
				       uint64_t index)
{
	struct radix_tree_iter iter = { 0 };

	radix_tree_walk(root, index, 0, &iter);
	MUST(iter.entry && !radix_tree_is_internal_node(iter.entry));
	return iter;
}

/* Replace the word of an entry; 0: it goes, as dax_delete_locked_entry() lets
 * it go. */
void model_tree_store(struct radix_tree_root *root, uint64_t index,
		      uint64_t entry)
{
	struct radix_tree_iter iter = entry_at(root, index);

	if (!entry) {
		radix_tree_tag_clear(&iter, DAX_PAGECACHE_TAG_DIRTY);
		radix_tree_tag_clear(&iter, DAX_PAGECACHE_TAG_TOWRITE);
	}
	smp_store_release(iter.slot, (void *)(uintptr_t)entry);
}

int model_tree_split(struct radix_tree_root *root, uint64_t index,
		     uint64_t entry, struct model_place *place)
{
	struct radix_tree_iter old = entry_at(root, index), iter = { 0 };
	void *chain;
	int ret = radix_tree_split_prepare(root, &old, index,
					   (void *)(uintptr_t)entry, &iter, &chain);

	if (!ret) {
		radix_tree_split_publish(&old, chain);
		MUST(!radix_tree_tag_get(&old, DAX_PAGECACHE_TAG_DIRTY));
		MUST(!radix_tree_tag_get(&old, DAX_PAGECACHE_TAG_TOWRITE));
	}
	fill_place(place, &iter);
	return ret;
}

void model_tree_set_tag(struct radix_tree_root *root, uint64_t index, int tag,
			int on)
{
	struct radix_tree_iter iter = entry_at(root, index);

	if (on)
		radix_tree_tag_set(&iter, (enum radix_tree_tag)tag);
	else
		radix_tree_tag_clear(&iter, (enum radix_tree_tag)tag);
}

int model_tree_get_tag(struct radix_tree_root *root, uint64_t index, int tag)
{
	struct radix_tree_iter iter = entry_at(root, index);

	return radix_tree_tag_get(&iter, (enum radix_tree_tag)tag);
}

int model_tree_tagged(struct radix_tree_root *root, int tag)
{
	return radix_tree_tagged(root, (enum radix_tree_tag)tag);
}

int model_tree_extend(struct radix_tree_root *root, uint64_t maxindex)
{
	return radix_tree_extend(root, maxindex);
}

uint64_t model_tree_maxindex(struct radix_tree_root *root)
{
	return radix_tree_maxindex(root);
}

uint64_t model_tree_nodes(struct radix_tree_root *root)
{
	return root->nr_nodes;
}

struct deletion {
	uint64_t asked, keep_every;
};

static bool delete_but_some(const struct radix_tree_iter *iter, void *arg)
{
	struct deletion *deletion = arg;

	(void)iter;
	deletion->asked++;
	return !deletion->keep_every || deletion->asked % deletion->keep_every;
}

/* All entries but each @keep_every-th, in order; how many were met. */
uint64_t model_tree_delete_range(struct radix_tree_root *root, uint64_t first,
				 uint64_t last, uint64_t keep_every)
{
	struct deletion deletion = { .keep_every = keep_every };

	radix_tree_delete_range(root, first, last, delete_but_some, &deletion);
	return deletion.asked;
}

void model_tree_prune(struct radix_tree_root *root)
{
	radix_tree_prune(root);
}

/* Each page's word is the next after the page's before it. */
static void *next_word(const struct radix_tree_iter *old, dax_pgoff_t index)
{
	return (char *)old->entry + ((index - old->index) << 3);
}

/* Pages [first, last] of the entry at @index go, or with @discard nothing. */
int model_tree_split_range(struct radix_tree_root *root, uint64_t index,
			   uint64_t first, uint64_t last, int discard)
{
	struct radix_tree_iter old = entry_at(root, index);
	struct radix_tree_node *top;

	top = radix_tree_split_range_prepare(root, &old, first, last, next_word);
	if (!top)
		return -ENOMEM;
	if (discard)
		radix_tree_split_range_discard(root, top);
	else
		radix_tree_split_range_publish(&old, top);
	return 0;
}

enum { GANG_MAX = 64 };

/* Where the next @nr entries with a tag stand; with @clear it falls, and is
 * settled in upper levels up to there.  How many they are. */
unsigned int model_tree_gang(struct radix_tree_root *root, uint64_t index,
			     uint64_t last, int tag, int clear,
			     uint64_t *indices, unsigned int nr)
{
	struct radix_tree_iter iter[GANG_MAX];
	enum radix_tree_tag which = (enum radix_tree_tag)tag;

	MUST(nr <= GANG_MAX);
	nr = radix_tree_gang_lookup_tag(root, index, last, which, iter, nr);
	for (unsigned int i = 0; i < nr; i++)
		indices[i] = iter[i].index;
	if (clear && nr) {
		radix_tree_gang_tag_clear(iter, nr, which);
		radix_tree_settle_tags(root, index, last, which);
	}
	return nr;
}
