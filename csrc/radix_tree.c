/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * radix_tree.c -- nodes, tags, entries of order 0, 9 and 18
 *
 * Owns: nodes; never looks inside an entry.
 * Locks: none.  radix_tree.h says what may run side by side.
 * Kernel: lib/radix-tree.c (v4.14).
 * Differs: no sibling slots (the fan-out divides 9); no stored counts, since
 *          keeping them exact would cost an atomic addition per insertion,
 *          and they are wanted only where a node may be freed, which is where
 *          its slots are visited anyway; the root always has a node; growth
 *          only in exclusive sections; failure atomic without preloading.
 */
#include "radix_tree.h"

#include <errno.h>

#include "sys.h"

static unsigned int shift_for(dax_pgoff_t maxindex)
{
	unsigned int shift = 0;

	while (shift + RADIX_TREE_MAP_SHIFT < RADIX_TREE_INDEX_BITS &&
	       maxindex >> (shift + RADIX_TREE_MAP_SHIFT))
		shift += RADIX_TREE_MAP_SHIFT;
	return shift;
}

void radix_tree_init(struct radix_tree_root *root, dax_pgoff_t maxindex)
{
	atomic_init(&root->rnode, shift_for(maxindex));
	atomic_init(&root->nr_nodes, 0);
}

static struct radix_tree_node *node_alloc(struct radix_tree_root *root,
					  struct radix_tree_node *parent,
					  unsigned int shift,
					  unsigned int offset)
{
	struct radix_tree_node *node = dax_zalloc(sizeof(*node));

	if (!node)
		return NULL;
	node->shift = (uint8_t)shift;
	node->offset = (uint16_t)offset;
	node->parent = parent;
	atomic_fetch_add_explicit(&root->nr_nodes, 1, memory_order_relaxed);
	return node;
}

static void node_free(struct radix_tree_root *root,
		      struct radix_tree_node *node)
{
	atomic_fetch_sub_explicit(&root->nr_nodes, 1, memory_order_relaxed);
	dax_free(node);
}

static void node_free_recursive(struct radix_tree_root *root,
				struct radix_tree_node *node)
{
	for (unsigned int i = 0; node->shift && i < RADIX_TREE_MAP_SIZE; i++) {
		void *entry = READ_ONCE(node->slots[i]);

		if (radix_tree_is_internal_node(entry))
			node_free_recursive(root, entry_to_node(entry));
	}
	node_free(root, node);
}

void radix_tree_destroy(struct radix_tree_root *root)
{
	uintptr_t rnode = READ_ONCE(root->rnode);

	if (rnode_node(rnode))
		node_free_recursive(root, rnode_node(rnode));
	WRITE_ONCE(root->rnode, rnode_shift(rnode));
}

unsigned int radix_tree_node_count(const struct radix_tree_node *node)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < RADIX_TREE_MAP_SIZE; i++)
		count += READ_ONCE(node->slots[i]) != NULL;
	return count;
}

unsigned int radix_tree_node_exceptional(const struct radix_tree_node *node)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < RADIX_TREE_MAP_SIZE; i++)
		count += radix_tree_exceptional_entry(READ_ONCE(node->slots[i]));
	return count;
}

static bool node_is_empty(const struct radix_tree_node *node)
{
	for (unsigned int i = 0; i < RADIX_TREE_MAP_SIZE; i++)
		if (READ_ONCE(node->slots[i]))
			return false;
	return true;
}

/* ---- tags ------------------------------------------------------------- */

static unsigned int slot_offset(const struct radix_tree_iter *iter)
{
	return (unsigned int)(iter->slot - iter->node->slots);
}

static bool node_tag_get(const struct radix_tree_node *node, unsigned int tag,
			 unsigned int offset)
{
	return atomic_load(&node->tags[tag][offset / 64]) >> (offset % 64) & 1;
}

static void node_tag_clear(struct radix_tree_node *node, unsigned int tag,
			   unsigned int offset)
{
	atomic_fetch_and(&node->tags[tag][offset / 64],
			 ~(UINT64_C(1) << (offset % 64)));
}

static void node_tag_set(struct radix_tree_node *node, unsigned int tag,
			 unsigned int offset)
{
	atomic_fetch_or(&node->tags[tag][offset / 64],
			UINT64_C(1) << (offset % 64));
}

static bool node_tagged(const struct radix_tree_node *node, unsigned int tag)
{
	for (unsigned int i = 0; i < RADIX_TREE_TAG_LONGS; i++)
		if (atomic_load(&node->tags[tag][i]))
			return true;
	return false;
}

/*
 * The climb goes to the root even where a bit is set already: another thread
 * may have set that bit and not be at the root yet, and who returns from here
 * must be found from there.  Upper bits fall in exclusive sections and in
 * radix_tree_settle_tags(), which needs the order of the loads and stores here.
 */
void radix_tree_tag_set(const struct radix_tree_iter *iter,
			enum radix_tree_tag tag)
{
	struct radix_tree_node *node = iter->node;
	unsigned int offset = slot_offset(iter);

	while (node) {
		if (!node_tag_get(node, tag, offset))
			node_tag_set(node, tag, offset);
		offset = node->offset;
		node = node->parent;
	}
}

void radix_tree_tag_clear(const struct radix_tree_iter *iter,
			  enum radix_tree_tag tag)
{
	if (node_tag_get(iter->node, tag, slot_offset(iter)))
		node_tag_clear(iter->node, tag, slot_offset(iter));
}

bool radix_tree_tag_get(const struct radix_tree_iter *iter,
			enum radix_tree_tag tag)
{
	return node_tag_get(iter->node, tag, slot_offset(iter));
}

bool radix_tree_tagged(struct radix_tree_root *root, enum radix_tree_tag tag)
{
	struct radix_tree_iter iter;

	return radix_tree_next_tagged(root, 0, radix_tree_maxindex(root), tag,
				      &iter);
}

/* ---- growth and insertion --------------------------------------------- */

static uintptr_t make_rnode(const struct radix_tree_node *node,
			    unsigned int shift)
{
	return (uintptr_t)node | shift;
}

/* Nodes from @shift down to @low, chained by their slot 0, none published.
 * Return: the topmost, or NULL when memory ran out. */
static struct radix_tree_node *build_tops(struct radix_tree_root *root,
					  unsigned int shift, unsigned int low)
{
	struct radix_tree_node *below = NULL;
	struct radix_tree_node *node;

	for (; low <= shift; low += RADIX_TREE_MAP_SHIFT) {
		node = node_alloc(root, NULL, low, 0);
		if (!node)
			goto err_free;
		if (below) {
			atomic_init(&node->slots[0], node_to_entry(below));
			below->parent = node;
		}
		below = node;
	}
	return below;

err_free:
	if (below)
		node_free_recursive(root, below);
	return NULL;
}

/* Hang @old below the new tops, its tags first, and publish. */
static void publish_tops(struct radix_tree_root *root,
			 struct radix_tree_node *top,
			 struct radix_tree_node *old)
{
	struct radix_tree_node *lowest = top;

	while (lowest->shift > old->shift + RADIX_TREE_MAP_SHIFT)
		lowest = entry_to_node(READ_ONCE(lowest->slots[0]));
	for (unsigned int tag = 0; tag < RADIX_TREE_MAX_TAGS; tag++)
		for (struct radix_tree_node *node = lowest;
		     node_tagged(old, tag) && node; node = node->parent)
			atomic_init(&node->tags[tag][0], 1);
	atomic_init(&lowest->slots[0], node_to_entry(old));
	old->parent = lowest;
	smp_store_release(&root->rnode, make_rnode(top, top->shift));
}

int radix_tree_extend(struct radix_tree_root *root, dax_pgoff_t maxindex)
{
	uintptr_t rnode = READ_ONCE(root->rnode);
	unsigned int shift = shift_for(maxindex);
	struct radix_tree_node *top;

	if (shift <= rnode_shift(rnode))
		return 0;
	if (!rnode_node(rnode)) {
		WRITE_ONCE(root->rnode, shift);
		return 0;
	}
	top = build_tops(root, shift, rnode_shift(rnode) + RADIX_TREE_MAP_SHIFT);
	if (!top)
		return -ENOMEM;
	publish_tops(root, top, rnode_node(rnode));
	return 0;
}

/*
 * Build the nodes from @shift down to @order, none published, with @entry at
 * the bottom.  @parent is where the top will hang.  NULL: no memory.
 */
static struct radix_tree_node *
build_chain(struct radix_tree_root *root, struct radix_tree_node *parent,
	    dax_pgoff_t index, unsigned int shift, unsigned int order,
	    void *entry, struct radix_tree_iter *bottom)
{
	unsigned int offset = parent ? (index >> parent->shift) &
					       RADIX_TREE_MAP_MASK : 0;
	struct radix_tree_node *top = NULL;
	struct radix_tree_node *node;

	for (;; shift -= RADIX_TREE_MAP_SHIFT) {
		node = node_alloc(root, parent, shift, offset);
		if (!node)
			goto err_free_chain;
		if (top)
			atomic_init(&parent->slots[offset], node_to_entry(node));
		else
			top = node;
		offset = (index >> shift) & RADIX_TREE_MAP_MASK;
		if (shift == order)
			break;
		parent = node;
	}
	atomic_init(&node->slots[offset], entry);
	bottom->node = node;
	bottom->slot = &node->slots[offset];
	bottom->entry = entry;
	bottom->order = order;
	bottom->index = radix_tree_canonical(index, order);
	return top;

err_free_chain:
	if (top)
		node_free_recursive(root, top);
	return NULL;
}

/* The tree has no node at all: publish the first together with the entry. */
static int insert_first(struct radix_tree_root *root, dax_pgoff_t index,
			unsigned int order, void *entry,
			struct radix_tree_iter *iter)
{
	uintptr_t rnode = rnode_shift(READ_ONCE(root->rnode));
	struct radix_tree_node *top;

	top = build_chain(root, NULL, index, (unsigned int)rnode, order, entry,
			  iter);
	if (!top)
		return -ENOMEM;
	dax_test_yield(DAX_TEST_GRAB_PREALLOC);
	if (atomic_compare_exchange_strong_explicit(
		    &root->rnode, &rnode, make_rnode(top, (unsigned int)rnode),
		    memory_order_acq_rel, memory_order_relaxed))
		return 0;
	node_free_recursive(root, top);
	return -EAGAIN;
}

/* @iter stands on an empty slot above the level wanted. */
static int insert_chain(struct radix_tree_root *root, dax_pgoff_t index,
			unsigned int order, void *entry,
			struct radix_tree_iter *iter)
{
	struct radix_tree_iter bottom;
	struct radix_tree_node *top;
	void *none = NULL;

	top = build_chain(root, iter->node, index,
			  iter->order - RADIX_TREE_MAP_SHIFT, order, entry,
			  &bottom);
	if (!top)
		return -ENOMEM;
	dax_test_yield(DAX_TEST_GRAB_PREALLOC);
	if (atomic_compare_exchange_strong_explicit(iter->slot, &none,
						    node_to_entry(top),
						    memory_order_acq_rel,
						    memory_order_relaxed)) {
		*iter = bottom;
		return 0;
	}
	node_free_recursive(root, top);
	return -EAGAIN;
}

static int insert_slot(void *entry, struct radix_tree_iter *iter)
{
	void *none = NULL;

	if (!atomic_compare_exchange_strong_explicit(iter->slot, &none, entry,
						     memory_order_acq_rel,
						     memory_order_relaxed))
		return -EAGAIN;
	iter->entry = entry;
	return 0;
}

/* One try; -EAGAIN: somebody was quicker at the same slot, look again. */
static int insert_once(struct radix_tree_root *root, dax_pgoff_t index,
		       unsigned int order, void *entry,
		       struct radix_tree_iter *iter)
{
	if (!radix_tree_walk(root, index, order, iter))
		return insert_first(root, index, order, entry, iter);
	if (iter->entry)
		return -EEXIST;
	if (iter->order > order)
		return insert_chain(root, index, order, entry, iter);
	return insert_slot(entry, iter);
}

int radix_tree_insert(struct radix_tree_root *root, dax_pgoff_t index,
		      unsigned int order, void *entry,
		      struct radix_tree_iter *iter)
{
	int ret;

	if (index > radix_tree_maxindex(root) ||
	    order > rnode_shift(READ_ONCE(root->rnode)))
		return -ERANGE;
	do {
		ret = insert_once(root, index, order, entry, iter);
	} while (unlikely(ret == -EAGAIN));
	return ret;
}

int radix_tree_split_prepare(struct radix_tree_root *root,
			     const struct radix_tree_iter *iter,
			     dax_pgoff_t index, void *entry,
			     struct radix_tree_iter *ret_iter, void **ret_chain)
{
	struct radix_tree_node *top;

	top = build_chain(root, iter->node, index,
			  iter->order - RADIX_TREE_MAP_SHIFT, 0, entry,
			  ret_iter);
	if (!top)
		return -ENOMEM;
	*ret_chain = node_to_entry(top);
	return 0;
}

void radix_tree_split_publish(struct radix_tree_iter *old, void *chain)
{
	for (unsigned int tag = 0; tag < RADIX_TREE_MAX_TAGS; tag++)
		radix_tree_tag_clear(old, tag);
	smp_store_release(old->slot, chain);
}

/* ---- splitting (exclusive) ---------------------------------------------- */

struct split_range {
	struct radix_tree_root *root;
	const struct radix_tree_iter *old;
	dax_pgoff_t first;
	dax_pgoff_t last;
	radix_tree_word_fn fn;
};

static struct radix_tree_node *build_split(const struct split_range *split,
					   struct radix_tree_node *parent,
					   unsigned int offset,
					   dax_pgoff_t base, unsigned int shift);

/* What stands at @index in a node being built; NULL: no memory. */
static void *split_word(const struct split_range *split,
			struct radix_tree_node *node, unsigned int offset,
			dax_pgoff_t index)
{
	struct radix_tree_node *child;

	if (!node->shift)
		return split->fn(split->old, index);
	child = build_split(split, node, offset, index,
			    node->shift - RADIX_TREE_MAP_SHIFT);
	return child ? node_to_entry(child) : NULL;
}

static struct radix_tree_node *build_split(const struct split_range *split,
					   struct radix_tree_node *parent,
					   unsigned int offset,
					   dax_pgoff_t base, unsigned int shift)
{
	struct radix_tree_node *node = node_alloc(split->root, parent, shift, offset);

	for (unsigned int i = 0; node && i < RADIX_TREE_MAP_SIZE; i++) {
		dax_pgoff_t index = base + ((dax_pgoff_t)i << shift);
		dax_pgoff_t end = index + (((dax_pgoff_t)1 << shift) - 1);
		void *word;

		if (index >= split->first && end <= split->last)
			continue;
		word = split_word(split, node, i, index);
		if (!word) {
			node_free_recursive(split->root, node);
			return NULL;
		}
		atomic_init(&node->slots[i], word);
		for (unsigned int tag = 0; tag < RADIX_TREE_MAX_TAGS; tag++)
			if (radix_tree_tag_get(split->old, tag))
				node_tag_set(node, tag, i);
	}
	return node;
}

struct radix_tree_node *
radix_tree_split_range_prepare(struct radix_tree_root *root,
			       const struct radix_tree_iter *old,
			       dax_pgoff_t first, dax_pgoff_t last,
			       radix_tree_word_fn fn)
{
	const struct split_range split = {
		.root = root, .old = old, .first = first, .last = last, .fn = fn,
	};

	return build_split(&split, old->node, slot_offset(old), old->index,
			   old->order - RADIX_TREE_MAP_SHIFT);
}

/* The tags of the old slot stay: they are the node's now. */
void radix_tree_split_range_publish(const struct radix_tree_iter *old,
				    struct radix_tree_node *top)
{
	smp_store_release(old->slot, node_to_entry(top));
}

void radix_tree_split_range_discard(struct radix_tree_root *root,
				    struct radix_tree_node *top)
{
	node_free_recursive(root, top);
}

/* ---- iteration -------------------------------------------------------- */

/* First slot at or after @offset with @tag; MAP_SIZE if none. */
static unsigned int next_tagged_slot(const struct radix_tree_node *node,
				     unsigned int tag, unsigned int offset)
{
	unsigned int word = offset / 64;
	uint64_t bits;

	if (offset >= RADIX_TREE_MAP_SIZE)
		return RADIX_TREE_MAP_SIZE;
	bits = READ_ONCE(node->tags[tag][word]) & (~UINT64_C(0) << (offset % 64));
	while (!bits) {
		if (++word == RADIX_TREE_TAG_LONGS)
			return RADIX_TREE_MAP_SIZE;
		bits = READ_ONCE(node->tags[tag][word]);
	}
	return word * 64 + (unsigned int)__builtin_ctzll(bits);
}

static unsigned int next_used_slot(const struct radix_tree_node *node,
				   unsigned int offset)
{
	while (offset < RADIX_TREE_MAP_SIZE && !READ_ONCE(node->slots[offset]))
		offset++;
	return offset;
}

/*
 * Search @node, whose first page is @base, from @index on.  @tag negative: any
 * entry.  Depth is bounded by the height of the tree.
 */
static bool search_node(struct radix_tree_node *node, dax_pgoff_t base,
			dax_pgoff_t index, dax_pgoff_t last, int tag,
			struct radix_tree_iter *iter)
{
	unsigned int offset = (unsigned int)((index - base) >> node->shift);

	for (;; offset++) {
		dax_pgoff_t start;
		void *entry;

		offset = tag < 0 ? next_used_slot(node, offset)
				 : next_tagged_slot(node, (unsigned int)tag, offset);
		start = base + ((dax_pgoff_t)offset << node->shift);
		if (offset >= RADIX_TREE_MAP_SIZE || start > last)
			return false;
		entry = smp_load_acquire(&node->slots[offset]);
		if (!entry)
			continue;
		if (radix_tree_is_internal_node(entry)) {
			if (search_node(entry_to_node(entry), start,
					index > start ? index : start, last,
					tag, iter))
				return true;
			continue;
		}
		*iter = (struct radix_tree_iter){
			.index = start, .order = node->shift, .node = node,
			.slot = &node->slots[offset], .entry = entry,
		};
		return true;
	}
}

static bool search(struct radix_tree_root *root, dax_pgoff_t index,
		   dax_pgoff_t last, int tag, struct radix_tree_iter *iter)
{
	uintptr_t rnode = smp_load_acquire(&root->rnode);

	if (!rnode_node(rnode) || index > last || index > rnode_maxindex(rnode))
		return false;
	return search_node(rnode_node(rnode), 0, index, last, tag, iter);
}

bool radix_tree_next(struct radix_tree_root *root, dax_pgoff_t index,
		     dax_pgoff_t last, struct radix_tree_iter *iter)
{
	return search(root, index, last, -1, iter);
}

bool radix_tree_next_tagged(struct radix_tree_root *root, dax_pgoff_t index,
			    dax_pgoff_t last, enum radix_tree_tag tag,
			    struct radix_tree_iter *iter)
{
	return search(root, index, last, (int)tag, iter);
}

struct gang {
	dax_pgoff_t index;
	dax_pgoff_t last;
	unsigned int tag;
	struct radix_tree_iter *iter;
	unsigned int nr;
	unsigned int filled;
};

static void gang_add(struct gang *gang, struct radix_tree_node *node,
		     unsigned int offset, dax_pgoff_t start)
{
	struct radix_tree_iter *iter = &gang->iter[gang->filled++];

	iter->index = start;
	iter->order = node->shift;
	iter->node = node;
	iter->slot = &node->slots[offset];
	iter->entry = NULL;
}

/* On the lowest level the tag alone says that there is an entry. */
static void gang_leaf(struct gang *gang, struct radix_tree_node *node,
		      dax_pgoff_t base)
{
	unsigned int offset = gang->index > base ?
				      (unsigned int)(gang->index - base) : 0;
	uint64_t mask = ~UINT64_C(0) << (offset % 64);

	for (unsigned int w = offset / 64; w < RADIX_TREE_TAG_LONGS; w++) {
		uint64_t bits = atomic_load(&node->tags[gang->tag][w]) & mask;

		for (; bits; bits &= bits - 1) {
			unsigned int i = w * 64 + (unsigned int)__builtin_ctzll(bits);

			if (gang->filled == gang->nr || base + i > gang->last)
				return;
			gang_add(gang, node, i, base + i);
		}
		mask = ~UINT64_C(0);
	}
}

/* The child after the one at @offset: its header and its tags. */
static void gang_prefetch(const struct radix_tree_node *node, unsigned int tag,
			  unsigned int offset)
{
	unsigned int next = next_tagged_slot(node, tag, offset + 1);
	void *entry = next < RADIX_TREE_MAP_SIZE ? READ_ONCE(node->slots[next]) : NULL;

	if (!radix_tree_is_internal_node(entry))
		return;
	__builtin_prefetch(entry_to_node(entry));
	__builtin_prefetch(&entry_to_node(entry)->tags[tag]);
}

static void gang_node(struct gang *gang, struct radix_tree_node *node,
		      dax_pgoff_t base)
{
	unsigned int offset = gang->index > base ?
			(unsigned int)((gang->index - base) >> node->shift) : 0;

	if (!node->shift) {
		gang_leaf(gang, node, base);
		return;
	}
	for (; gang->filled < gang->nr; offset++) {
		dax_pgoff_t start;
		void *entry;

		offset = next_tagged_slot(node, gang->tag, offset);
		start = base + ((dax_pgoff_t)offset << node->shift);
		if (offset >= RADIX_TREE_MAP_SIZE || start > gang->last)
			return;
		entry = smp_load_acquire(&node->slots[offset]);
		if (radix_tree_is_internal_node(entry)) {
			gang_prefetch(node, gang->tag, offset);
			gang_node(gang, entry_to_node(entry), start);
		} else {
			gang_add(gang, node, offset, start);
		}
	}
}

unsigned int radix_tree_gang_lookup_tag(struct radix_tree_root *root,
					dax_pgoff_t index, dax_pgoff_t last,
					enum radix_tree_tag tag,
					struct radix_tree_iter *iter,
					unsigned int nr)
{
	uintptr_t rnode = smp_load_acquire(&root->rnode);
	struct gang gang = {
		.index = index, .last = last, .tag = tag, .iter = iter, .nr = nr,
	};

	if (!rnode_node(rnode) || index > last || index > rnode_maxindex(rnode))
		return 0;
	gang_node(&gang, rnode_node(rnode), 0);
	return gang.filled;
}

/* One operation for those whose bits share a word. */
void radix_tree_gang_tag_clear(const struct radix_tree_iter *iter,
			       unsigned int nr, enum radix_tree_tag tag)
{
	for (unsigned int i = 0; i < nr;) {
		struct radix_tree_node *node = iter[i].node;
		unsigned int offset = slot_offset(&iter[i]), word = offset / 64;
		uint64_t bits = 0;

		do {
			bits |= UINT64_C(1) << (offset % 64);
			i++;
			if (i == nr || iter[i].node != node)
				break;
			offset = slot_offset(&iter[i]);
		} while (offset / 64 == word);
		atomic_fetch_and(&node->tags[tag][word], ~bits);
	}
}

/* ---- tags that speak of nothing any more ------------------------------------- */

/*
 * The bit of a child without tags falls, then the child is looked at again:
 * whoever set a tag below and found the bit still there is seen here, and the
 * bit is put back.  Whoever found it gone sets it itself.
 */
static void settle_tag(struct radix_tree_node *node, unsigned int tag,
		       unsigned int offset, const struct radix_tree_node *child)
{
	if (node_tagged(child, tag))
		return;
	dax_test_yield(DAX_TEST_TAG_SETTLING);
	node_tag_clear(node, tag, offset);
	dax_test_yield(DAX_TEST_TAG_SETTLED);
	if (node_tagged(child, tag))
		node_tag_set(node, tag, offset);
}

static void settle_node(struct radix_tree_node *node, dax_pgoff_t base,
			dax_pgoff_t first, dax_pgoff_t last, unsigned int tag)
{
	unsigned int offset = first > base ?
				      (unsigned int)((first - base) >> node->shift) : 0;

	for (;; offset++) {
		dax_pgoff_t start;
		void *entry;

		offset = next_tagged_slot(node, tag, offset);
		start = base + ((dax_pgoff_t)offset << node->shift);
		if (offset >= RADIX_TREE_MAP_SIZE || start > last)
			return;
		entry = smp_load_acquire(&node->slots[offset]);
		if (!radix_tree_is_internal_node(entry))
			continue;
		if (node->shift > RADIX_TREE_MAP_SHIFT)
			settle_node(entry_to_node(entry), start, first, last, tag);
		settle_tag(node, tag, offset, entry_to_node(entry));
	}
}

void radix_tree_settle_tags(struct radix_tree_root *root, dax_pgoff_t first,
			    dax_pgoff_t last, enum radix_tree_tag tag)
{
	uintptr_t rnode = smp_load_acquire(&root->rnode);

	if (rnode_node(rnode) && rnode_shift(rnode))
		settle_node(rnode_node(rnode), 0, first, last, tag);
}

/* ---- deletion (exclusive) --------------------------------------------- */

struct delete_range {
	struct radix_tree_root *root;
	dax_pgoff_t first;
	dax_pgoff_t last;
	radix_tree_delete_fn fn;
	void *arg;
};

static void clear_slot(struct radix_tree_node *node, unsigned int offset)
{
	for (unsigned int tag = 0; tag < RADIX_TREE_MAX_TAGS; tag++)
		if (node_tag_get(node, tag, offset))
			node_tag_clear(node, tag, offset);
	WRITE_ONCE(node->slots[offset], NULL);
}

/* The child in @offset was worked on: free it or bring its tags up. */
static void settle_child(struct delete_range *range,
			 struct radix_tree_node *node, unsigned int offset,
			 struct radix_tree_node *child, bool empty)
{
	if (empty || node_is_empty(child)) {
		clear_slot(node, offset);
		node_free(range->root, child);
		return;
	}
	for (unsigned int tag = 0; tag < RADIX_TREE_MAX_TAGS; tag++)
		if (node_tag_get(node, tag, offset) && !node_tagged(child, tag))
			node_tag_clear(node, tag, offset);
}

static bool node_any_tagged(const struct radix_tree_node *node)
{
	bool tagged = false;

	for (unsigned int tag = 0; !tagged && tag < RADIX_TREE_MAX_TAGS; tag++)
		tagged = node_tagged(node, tag);
	return tagged;
}

/* Entries of the lowest level: there are most of them.  true: none is left in
 * the whole node. */
static bool delete_in_leaf(struct delete_range *range,
			   struct radix_tree_node *node, dax_pgoff_t base)
{
	unsigned int first = range->first > base ?
				     (unsigned int)(range->first - base) : 0;
	bool tagged = node_any_tagged(node);
	bool empty = first == 0;
	struct radix_tree_iter iter = { .node = node };

	for (unsigned int i = first; i < RADIX_TREE_MAP_SIZE; i++) {
		iter.entry = READ_ONCE(node->slots[i]);
		if (!iter.entry)
			continue;
		iter.index = base + i;
		if (iter.index > range->last)
			return false;
		iter.slot = &node->slots[i];
		if (!range->fn(&iter, range->arg))
			empty = false;
		else if (tagged)
			clear_slot(node, i);
		else
			WRITE_ONCE(node->slots[i], NULL);
	}
	return empty;
}

/* true: nothing is left in the node, for certain. */
static bool delete_in_node(struct delete_range *range,
			   struct radix_tree_node *node, dax_pgoff_t base)
{
	dax_pgoff_t start = range->first > base ? range->first - base : 0;
	unsigned int offset = (unsigned int)(start >> node->shift);

	if (!node->shift)
		return delete_in_leaf(range, node, base);
	for (; offset < RADIX_TREE_MAP_SIZE; offset++) {
		dax_pgoff_t index = base + ((dax_pgoff_t)offset << node->shift);
		void *entry = READ_ONCE(node->slots[offset]);

		if (index > range->last)
			break;
		if (radix_tree_is_internal_node(entry)) {
			struct radix_tree_node *child = entry_to_node(entry);

			settle_child(range, node, offset, child,
				     delete_in_node(range, child, index));
		} else if (entry && range->fn(&(struct radix_tree_iter){
						      .index = index,
						      .order = node->shift,
						      .node = node, .entry = entry,
						      .slot = &node->slots[offset] },
					      range->arg)) {
			clear_slot(node, offset);
		}
	}
	return false;
}

void radix_tree_delete_range(struct radix_tree_root *root, dax_pgoff_t first,
			     dax_pgoff_t last, radix_tree_delete_fn fn,
			     void *arg)
{
	uintptr_t rnode = READ_ONCE(root->rnode);
	struct radix_tree_node *node = rnode_node(rnode);
	struct delete_range range = {
		.root = root, .first = first, .last = last, .fn = fn, .arg = arg,
	};

	if (!node || first > last || first > rnode_maxindex(rnode))
		return;
	delete_in_node(&range, node, 0);
	if (node_is_empty(node)) {
		WRITE_ONCE(root->rnode, rnode_shift(rnode));
		node_free(root, node);
	}
}

static bool keep_entry(const struct radix_tree_iter *iter, void *arg)
{
	(void)iter;
	(void)arg;
	return false;
}

void radix_tree_prune(struct radix_tree_root *root)
{
	radix_tree_delete_range(root, 0, radix_tree_maxindex(root), keep_entry,
				NULL);
}
