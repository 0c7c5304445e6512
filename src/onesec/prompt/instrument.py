"""A template's tree, rewritten so that the meter sees all work that Jinja would do unseen.

Loops and macros get a tick for each turn; what goes into and comes out of filters, comparisons,
slices and literals passes through the filters "seen!" and "kept!"; ~ becomes one, and template text
an ordinary constant that goes through finalize. No template can write names that end in "!".
It must not know what the filters do.
"""

from __future__ import annotations

from typing import Any

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.visitor import NodeTransformer


class GenerationTag(Extension):
    """{% generation %} marks the assistant's part for training; here it just stands aside."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own name and type)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The body alone."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Instrument(NodeTransformer):
    """Puts the meter's filters where work is done that Jinja does not let us intercept."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _through("seen!", node.iter)
        node.body.insert(0, _tick_node(node))
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, _tick_node(node))
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        call = node.call  # must stay a Call; env.call meters it
        for child in [*call.args, *call.kwargs]:
            self.generic_visit(child)
        node.body = [self.visit(child) for child in node.body]
        node.body.insert(0, _tick_node(node))
        return node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        return nodes.Const(node.data, lineno=node.lineno)  # Const passes through finalize

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        self.generic_visit(node)
        if node.node is None:  # the innermost of a filter block
            return node
        node.node = _through("seen!", node.node)
        return _through("kept!", node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _through("concat!", nodes.List(node.nodes, lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _through("seen!", node.expr)
        for operand in node.ops:
            operand.expr = _through("seen!", operand.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _through("kept!", node) if isinstance(node.arg, nodes.Slice) else node

    def _visit_literal(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        stored = getattr(node, "ctx", "load") != "load"
        return node if stored else _through("kept!", node)

    visit_List = visit_Tuple = visit_Dict = _visit_literal


def _through(name: str, node: Any) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _tick_node(node: nodes.Node) -> nodes.ExprStmt:
    tick = _through("tick!", nodes.Const(0, lineno=node.lineno))
    return nodes.ExprStmt(tick, lineno=node.lineno)
