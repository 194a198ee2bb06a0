"""An MCP server of the official Python package: over standard input and output, or on the port it is given."""

import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Image

server = MCPServer("calculator")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def refuse() -> str:
    """Fails."""
    raise ValueError("no such account")


@server.tool()
def picture() -> Image:
    """Gives a picture."""
    return Image(data=b"not really", format="png")


if len(sys.argv) > 1:
    server.run(transport="streamable-http", port=int(sys.argv[1]))
else:
    server.run(transport="stdio")
