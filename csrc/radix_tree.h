/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * radix_tree.h -- a radix tree whose geometry is the page table's
 *
 *  key to the low bits of a slot:
 *    00  NULL, or a data pointer (a page of the page-cache policy)
 *    01  a node one level below
 *    10  an exceptional entry: the caller's word
 *
 *  root (shift 9)          one slot covers 512 pages
 *  +----+----+----+ ... +
 *  |    | PMD|    |        an order-9 entry is ONE slot of this level
 *  +-|--+----+----+ ... +
 *    v
 *  node (shift 0)          one slot covers 1 page
 *  +----+----+ ... +
 *  | E  | E  |             order-0 entries
 *  +----+----+ ... +
 *
 * The fan-out shift divides 9, so there are no sibling slots and an entry of
 * any order is locked, replaced or removed by one atomic operation on one
 * word.  An entry's order is the shift of the node it stands in.
 *
 * Two ways to use it.  Shared: any number of threads look up, insert (by
 * compare-and-swap of a whole prepared chain of nodes), replace and empty
 * slots and set tags; no node is freed.  Exclusive: the caller knows that it
 * is alone; only then is the tree made taller, are nodes freed and do tags
 * fall on upper levels.  So in shared use a node may be left empty and an
 * upper tag may be set for a node that has none; the next exclusive call that
 * covers the place makes it exact.
 *
 * Kernel: lib/radix-tree.c (v4.14).  Knows nothing of entries but the two low bits.
 */
#ifndef DAXCORE_RADIX_TREE_H
#define DAXCORE_RADIX_TREE_H

#include <stdint.h>

#include "compiler.h"
#include "daxcore/types.h"

#ifndef DAX_TREE_SHIFT
#define DAX_TREE_SHIFT 9
#endif

enum {
	RADIX_TREE_MAP_SHIFT = DAX_TREE_SHIFT,
	RADIX_TREE_MAP_SIZE = 1 << RADIX_TREE_MAP_SHIFT,
	RADIX_TREE_MAP_MASK = RADIX_TREE_MAP_SIZE - 1,
	RADIX_TREE_TAG_LONGS = (RADIX_TREE_MAP_SIZE + 63) / 64,
	RADIX_TREE_MAX_TAGS = 3,
	/* 52 bits of page offset: a byte position has 63. */
	RADIX_TREE_INDEX_BITS = 52
};

_Static_assert(9 % RADIX_TREE_MAP_SHIFT == 0,
	       "DAX_TREE_SHIFT must divide 9 (1, 3 or 9)");

enum radix_tree_tag {
	DAX_PAGECACHE_TAG_DIRTY,
	DAX_PAGECACHE_TAG_TOWRITE,
	DAX_PAGECACHE_TAG_AHEAD		/* ahead.h */
};

typedef _Atomic(void *) radix_slot_t;

struct radix_tree_node {
	uint8_t shift;		/* order of the entries in its slots */
	uint16_t offset;	/* its slot in the parent */
	struct radix_tree_node *parent;	/* changed in exclusive sections */
	_Atomic uint64_t tags[RADIX_TREE_MAX_TAGS][RADIX_TREE_TAG_LONGS];
	radix_slot_t slots[RADIX_TREE_MAP_SIZE];
};

/*
 * The top node and its shift in one word (nodes are aligned to 64 bytes), so
 * that a lookup gets both by one load even while the tree grows.  Without a
 * node the shift is that of the node to come.
 */
struct radix_tree_root {
	_Atomic uintptr_t rnode;
	_Atomic uint64_t nr_nodes;
};

/* Where an entry was found. */
struct radix_tree_iter {
	dax_pgoff_t index;	/* canonical: first page of the entry */
	unsigned int order;
	struct radix_tree_node *node;
	radix_slot_t *slot;
	void *entry;		/* as read */
};

static inline bool radix_tree_is_internal_node(const void *entry)
{
	return ((uintptr_t)entry & 3) == 1;
}

static inline bool radix_tree_exceptional_entry(const void *entry)
{
	return ((uintptr_t)entry & 3) == 2;
}

static inline struct radix_tree_node *entry_to_node(const void *entry)
{
	return (struct radix_tree_node *)((uintptr_t)entry - 1);
}

static inline void *node_to_entry(const struct radix_tree_node *node)
{
	return (void *)((uintptr_t)node + 1);
}

/* First page of the entry of @order that covers @index. */
static inline dax_pgoff_t radix_tree_canonical(dax_pgoff_t index,
					       unsigned int order)
{
	return index >> order << order;
}

/* Last page of the entry at @iter. */
static inline dax_pgoff_t radix_tree_iter_last(const struct radix_tree_iter *iter)
{
	return iter->index + (((dax_pgoff_t)1 << iter->order) - 1);
}

static inline struct radix_tree_node *rnode_node(uintptr_t rnode)
{
	return (struct radix_tree_node *)(rnode & ~(uintptr_t)63);
}

static inline unsigned int rnode_shift(uintptr_t rnode)
{
	return rnode & 63;
}

static inline dax_pgoff_t rnode_maxindex(uintptr_t rnode)
{
	return (UINT64_C(1) << (rnode_shift(rnode) + RADIX_TREE_MAP_SHIFT)) - 1;
}

/* Last page the tree can hold at its present height. */
static inline dax_pgoff_t radix_tree_maxindex(const struct radix_tree_root *root)
{
	return rnode_maxindex(smp_load_acquire(&root->rnode));
}

/* One level: read the slot; go below and return true, or stop there. */
static __always_inline_fn bool
radix_tree_step(struct radix_tree_iter *iter, struct radix_tree_node **node,
		dax_pgoff_t index, unsigned int *shift, unsigned int order)
{
	radix_slot_t *slot =
		&(*node)->slots[(index >> *shift) & RADIX_TREE_MAP_MASK];
	void *entry = smp_load_acquire(slot);

	if (*shift > order && likely(radix_tree_is_internal_node(entry))) {
		*node = entry_to_node(entry);
		*shift -= RADIX_TREE_MAP_SHIFT;
		return true;
	}
	iter->node = *node;
	iter->slot = slot;
	iter->entry = entry;
	iter->order = *shift;
	iter->index = radix_tree_canonical(index, *shift);
	return false;
}

/**
 * radix_tree_walk() - go down to the slot that answers for @index
 * @root: tree
 * @index: page offset
 * @order: stop at this level at the latest
 * @iter: receives slot, node, order, canonical index and the word read
 *
 * Stops at an entry, at an empty slot, or at the level of @order, where the
 * word may be a node (radix_tree_is_internal_node(iter->entry)).
 *
 * Context: shared or exclusive.
 * Return: false if the tree has no root yet or @index lies beyond it; then
 * @iter->slot is NULL and @iter->entry is NULL.
 */
static __always_inline_fn bool
radix_tree_walk(struct radix_tree_root *root, dax_pgoff_t index,
		unsigned int order, struct radix_tree_iter *iter)
{
	uintptr_t rnode = smp_load_acquire(&root->rnode);
	struct radix_tree_node *node = rnode_node(rnode);
	unsigned int shift = rnode_shift(rnode);

	if (unlikely(!node || index >> shift > RADIX_TREE_MAP_MASK)) {
		iter->slot = NULL;
		iter->entry = NULL;
		return false;
	}
	/* The last two levels with shifts the compiler knows: they are all
	 * there is in a file of a GiB. */
	while (unlikely(shift > RADIX_TREE_MAP_SHIFT))
		if (!radix_tree_step(iter, &node, index, &shift, order))
			return true;
	if (likely(shift)) {
		shift = RADIX_TREE_MAP_SHIFT;
		if (!radix_tree_step(iter, &node, index, &shift, order))
			return true;
	}
	shift = 0;
	radix_tree_step(iter, &node, index, &shift, order);
	return true;
}

/* Bring the slot of @index into the cache, to be written to soon. */
static inline void radix_tree_prefetch(struct radix_tree_root *root,
				       dax_pgoff_t index)
{
	struct radix_tree_iter iter;

	if (radix_tree_walk(root, index, RADIX_TREE_MAP_SHIFT, &iter) &&
	    radix_tree_is_internal_node(iter.entry))
		__builtin_prefetch(&entry_to_node(iter.entry)
					    ->slots[index & RADIX_TREE_MAP_MASK], 1);
}

/* The word in the slot of @index one level below @entry, a node. */
static __always_inline_fn void *radix_tree_below(const void *entry,
						 dax_pgoff_t index,
						 unsigned int shift)
{
	return smp_load_acquire(&entry_to_node(entry)
				      ->slots[(index >> shift) & RADIX_TREE_MAP_MASK]);
}

/* The entry that covers @index, or NULL.  Context: shared or exclusive. */
static inline void *radix_tree_lookup(struct radix_tree_root *root,
				      dax_pgoff_t index)
{
	const unsigned int low = RADIX_TREE_MAP_SHIFT;
	uintptr_t rnode = smp_load_acquire(&root->rnode);
	unsigned int shift = rnode_shift(rnode);
	void *entry = node_to_entry(rnode_node(rnode));

	if (unlikely(!rnode_node(rnode) || index >> shift > RADIX_TREE_MAP_MASK))
		return NULL;
	for (; unlikely(shift > 2 * low); shift -= low) {
		entry = radix_tree_below(entry, index, shift);
		if (!radix_tree_is_internal_node(entry))
			return entry;
	}
	if (shift == 2 * low) {
		entry = radix_tree_below(entry, index, 2 * low);
		if (unlikely(!radix_tree_is_internal_node(entry)))
			return entry;
	}
	if (likely(shift)) {
		entry = radix_tree_below(entry, index, low);
		if (unlikely(!radix_tree_is_internal_node(entry)))
			return entry;
	}
	return radix_tree_below(entry, index, 0);
}

/* Has it no node, and so no entry? */
static inline bool radix_tree_is_bare(struct radix_tree_root *root)
{
	return !rnode_node(smp_load_acquire(&root->rnode));
}

/* An empty tree able to hold indices up to @maxindex. */
void radix_tree_init(struct radix_tree_root *root, dax_pgoff_t maxindex);

/* Free all nodes; entries are forgotten.  Context: exclusive. */
void radix_tree_destroy(struct radix_tree_root *root);

/**
 * radix_tree_extend() - make the tree tall enough for @maxindex
 * Context: exclusive; lookups may run beside it, and if no tags are used so
 * may everything but another extend.
 * Return: 0, or -ENOMEM with the tree as it was.
 */
int radix_tree_extend(struct radix_tree_root *root, dax_pgoff_t maxindex);

/**
 * radix_tree_insert() - put an entry where there is none
 * @root: tree, tall enough for @index
 * @index: any page the entry covers
 * @order: 0, 9 or 18
 * @entry: exceptional word or data pointer
 * @iter: receives the place, also of what is in the way
 *
 * The missing nodes are built aside with the entry inside and published by
 * one compare-and-swap, so a failure leaves nothing behind.
 *
 * Context: shared or exclusive.
 * Return: 0; -EEXIST: something covers a page of the range (also a node
 * without entries); -ENOMEM; -ERANGE: the tree is not tall enough.
 */
int radix_tree_insert(struct radix_tree_root *root, dax_pgoff_t index,
		      unsigned int order, void *entry,
		      struct radix_tree_iter *iter);

/**
 * radix_tree_split_prepare() - build what replaces an entry: one of order 0
 * radix_tree_split_publish() - put it in place, by one store
 * @root: tree
 * @iter: the entry (publish: @old)
 * @index: page inside its range
 * @entry: the new word
 * @ret_iter: receives the new place
 * @ret_chain: receives the nodes built, for publish
 *
 * The other pages of the range become absent.  Tags of the old slot fall.
 *
 * Context: shared; only the caller may change the slot (it holds its lock).
 * Return: (prepare) 0, or -ENOMEM with the tree as it was.
 */
int radix_tree_split_prepare(struct radix_tree_root *root,
			     const struct radix_tree_iter *iter,
			     dax_pgoff_t index, void *entry,
			     struct radix_tree_iter *ret_iter, void **ret_chain);
void radix_tree_split_publish(struct radix_tree_iter *old, void *chain);

/* Called for each entry that goes; false: it stays. */
typedef bool (*radix_tree_delete_fn)(const struct radix_tree_iter *iter,
				     void *arg);

/**
 * radix_tree_delete_range() - remove entries, free what becomes empty
 * @root: tree
 * @first: first page
 * @last: last page, inclusive
 * @fn: asked for every entry that covers a page of the range
 * @arg: for @fn
 *
 * Tags of the entries fall, upper tags and empty nodes along the way are put
 * right.  Context: exclusive.
 */
void radix_tree_delete_range(struct radix_tree_root *root, dax_pgoff_t first,
			     dax_pgoff_t last, radix_tree_delete_fn fn,
			     void *arg);

/* The word of one page of an entry that is split. */
typedef void *(*radix_tree_word_fn)(const struct radix_tree_iter *old,
				    dax_pgoff_t index);

/**
 * radix_tree_split_range_prepare() - build what replaces an entry by those of
 * some of its pages
 * radix_tree_split_range_publish() - put it in place
 * radix_tree_split_range_discard() - or forget it
 * @root: tree
 * @old: the entry, of an order above 0
 * @first: first page that goes, may lie before the entry
 * @last: last page that goes, inclusive; at least one page of the entry stays
 * @fn: gives the word of a page
 * @top: what was prepared
 *
 * Each new entry has the tags that the old one had.
 *
 * Context: exclusive; the tree is not changed between the two.
 * Return: (prepare) the nodes, or NULL without memory.
 */
struct radix_tree_node *
radix_tree_split_range_prepare(struct radix_tree_root *root,
			       const struct radix_tree_iter *old,
			       dax_pgoff_t first, dax_pgoff_t last,
			       radix_tree_word_fn fn);
void radix_tree_split_range_publish(const struct radix_tree_iter *old,
				    struct radix_tree_node *top);
void radix_tree_split_range_discard(struct radix_tree_root *root,
				    struct radix_tree_node *top);

/* Free empty nodes and drop stale upper tags everywhere: exclusive. */
void radix_tree_prune(struct radix_tree_root *root);

/**
 * radix_tree_next() - first entry at or after a page
 * @root: tree
 * @index: page to begin at; an entry that covers it is found with its
 *         canonical, possibly smaller, index
 * @last: give up past this page
 * @iter: receives the place
 *
 * Go on at iter->index + (1 << iter->order).  Context: shared or exclusive.
 * Return: true if there is one.
 */
bool radix_tree_next(struct radix_tree_root *root, dax_pgoff_t index,
		     dax_pgoff_t last, struct radix_tree_iter *iter);
bool radix_tree_next_tagged(struct radix_tree_root *root, dax_pgoff_t index,
			    dax_pgoff_t last, enum radix_tree_tag tag,
			    struct radix_tree_iter *iter);

/**
 * radix_tree_gang_lookup_tag() - where the next tagged entries stand
 * @root: tree
 * @index: page to begin at
 * @last: give up past this page
 * @tag: tag
 * @iter: receives the places, in ascending order; entry is not looked at
 * @nr: room in @iter
 *
 * Context: as radix_tree_next_tagged().
 * Return: places filled; fewer than @nr: there are no more up to @last.
 */
unsigned int radix_tree_gang_lookup_tag(struct radix_tree_root *root,
					dax_pgoff_t index, dax_pgoff_t last,
					enum radix_tree_tag tag,
					struct radix_tree_iter *iter,
					unsigned int nr);

/* radix_tree_tag_clear() of entries in ascending order. */
void radix_tree_gang_tag_clear(const struct radix_tree_iter *iter,
			       unsigned int nr, enum radix_tree_tag tag);

/* Tags of an entry.  Set climbs to the root; clear is of the entry alone in
 * shared use, upper levels fall in exclusive sections.  Context: the caller
 * owns the slot. */
void radix_tree_tag_set(const struct radix_tree_iter *iter,
			enum radix_tree_tag tag);
void radix_tree_tag_clear(const struct radix_tree_iter *iter,
			  enum radix_tree_tag tag);
bool radix_tree_tag_get(const struct radix_tree_iter *iter,
			enum radix_tree_tag tag);
bool radix_tree_tagged(struct radix_tree_root *root, enum radix_tree_tag tag);

/*
 * Drop the tags of upper levels over a range of pages below which no entry has
 * them any more.  Setting tags may go on beside it.
 * Context: shared; no other settle and no search for @tag at the same time,
 * since for a moment a bit is missing that is set again.
 */
void radix_tree_settle_tags(struct radix_tree_root *root, dax_pgoff_t first,
			    dax_pgoff_t last, enum radix_tree_tag tag);

/* Number of slots in use / of exceptional slots in a node. */
unsigned int radix_tree_node_count(const struct radix_tree_node *node);
unsigned int radix_tree_node_exceptional(const struct radix_tree_node *node);

static inline uint64_t radix_tree_bytes(const struct radix_tree_root *root)
{
	return READ_ONCE(root->nr_nodes) * sizeof(struct radix_tree_node);
}

#endif
