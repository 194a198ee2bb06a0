"""One life of an issue through the official MCP SDK: client.py RUNNER, in a folder with a queue. Prints what it saw."""

import asyncio
import json
import sys

from mcp import ClientSession, MCPError, StdioServerParameters, stdio_client


async def main(runner: str) -> None:
    server = StdioServerParameters(command=runner, args=["mcp", "--actor", "python"], cwd=".")
    async with stdio_client(server) as (reading, writing), ClientSession(reading, writing) as session:
        info = (await session.initialize()).server_info
        tools = (await session.list_tools()).tools

        async def issue(tool: str, **arguments: str) -> dict:
            result = await session.call_tool(tool, arguments)
            assert not result.is_error, result
            return result.structured_content["issue"]

        created = await issue("issue_create", title="from Python: žluťoučký")
        claimed = await issue("issue_claim")
        closed = await issue("issue_close", issue_id=claimed["id"], reason="seen")
        refused = await session.call_tool("issue_get", {"issue_id": "bd-none"})
        assert refused.is_error
        try:
            await session.call_tool("nope", {})
            unknown = ""
        except MCPError as error:
            unknown = str(error)
        seen = {
            "server": [info.name, info.version],
            "tools": [tool.name for tool in tools],
            "created": created["id"],
            "claimed": claimed["id"],
            "status": closed["status"],
            "refused": refused.content[0].text,
            "unknown": unknown,
        }
    print(json.dumps(seen))


asyncio.run(main(sys.argv[1]))
