"""Every attribute, event and table name that goes over the wire or lies at rest: here and nowhere else.

``gen_ai.*`` names follow the OpenTelemetry GenAI semantic conventions (repository ``semantic-conventions-genai``,
in Development, read November 2026). ``ell.*`` names are ours; ``docs/design.md`` says what each is for.
"""

from __future__ import annotations

from typing import Final

# -- resource and code (OpenTelemetry semantic conventions, stable) -----------------------------------------------
SERVICE_NAME: Final = "service.name"
CODE_FUNCTION_NAME: Final = "code.function.name"
CODE_FILE_PATH: Final = "code.file.path"
CODE_LINE_NUMBER: Final = "code.line.number"
ERROR_TYPE: Final = "error.type"
TEST_SUITE_RUN_ID: Final = "test.suite.run.id"
TEST_CASE_ID: Final = "test.case.id"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

# -- GenAI conventions ----------------------------------------------------------------------------------------------
GEN_AI_PREFIX: Final = "gen_ai."
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_CONVERSATION_COMPACTED: Final = "gen_ai.conversation.compacted"
GEN_AI_OUTPUT_TYPE: Final = "gen_ai.output.type"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_REQUEST_STREAM: Final = "gen_ai.request.stream"
GEN_AI_REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
GEN_AI_REQUEST_TOP_P: Final = "gen_ai.request.top_p"
GEN_AI_REQUEST_FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
GEN_AI_REQUEST_PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
GEN_AI_REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GEN_AI_REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
GEN_AI_REQUEST_SEED: Final = "gen_ai.request.seed"
GEN_AI_REQUEST_CHOICE_COUNT: Final = "gen_ai.request.choice.count"
GEN_AI_REQUEST_ENCODING_FORMATS: Final = "gen_ai.request.encoding_formats"
GEN_AI_EMBEDDINGS_DIMENSION_COUNT: Final = "gen_ai.embeddings.dimension.count"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"  # seconds
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
GEN_AI_USAGE_AUDIO_INPUT_TOKENS: Final = "gen_ai.usage.audio.input_tokens"
GEN_AI_USAGE_AUDIO_OUTPUT_TOKENS: Final = "gen_ai.usage.audio.output_tokens"
GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
GEN_AI_SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
GEN_AI_TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
GEN_AI_WORKFLOW_NAME: Final = "gen_ai.workflow.name"
GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"
GEN_AI_TOOL_TYPE: Final = "gen_ai.tool.type"
GEN_AI_TOOL_DESCRIPTION: Final = "gen_ai.tool.description"
GEN_AI_TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
GEN_AI_TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
GEN_AI_TOOL_CALL_RESULT: Final = "gen_ai.tool.call.result"
GEN_AI_EVALUATION_NAME: Final = "gen_ai.evaluation.name"
GEN_AI_EVALUATION_SCORE_VALUE: Final = "gen_ai.evaluation.score.value"
GEN_AI_EVALUATION_SCORE_LABEL: Final = "gen_ai.evaluation.score.label"
GEN_AI_EVALUATION_EXPLANATION: Final = "gen_ai.evaluation.explanation"

OPENINFERENCE_KIND: Final = "openinference.span.kind"

OPERATION_CHAT: Final = "chat"
OPERATION_EMBEDDINGS: Final = "embeddings"
OPERATION_INVOKE_WORKFLOW: Final = "invoke_workflow"
OPERATION_EXECUTE_TOOL: Final = "execute_tool"

PROVIDER_OPENAI: Final = "openai"
OUTPUT_TYPE_JSON: Final = "json"
ERROR_TYPE_OTHER: Final = "_OTHER"
OPENAI_API_TYPE: Final = "openai.api.type"
OPENAI_API_TYPE_RESPONSES: Final = "responses"
OPENAI_REQUEST_SERVICE_TIER: Final = "openai.request.service_tier"
OPENAI_RESPONSE_SERVICE_TIER: Final = "openai.response.service_tier"
OPENAI_RESPONSE_SYSTEM_FINGERPRINT: Final = "openai.response.system_fingerprint"

# -- ours -------------------------------------------------------------------------------------------------------------
ELL_PROGRAM_NAME: Final = "ell.program.name"
ELL_PROGRAM_VERSION: Final = "ell.program.version"
ELL_INVOCATION_ID: Final = "ell.invocation.id"
ELL_INVOCATION_ARGUMENTS: Final = "ell.invocation.arguments"
ELL_INVOCATION_RESULT: Final = "ell.invocation.result"
ELL_INVOCATION_ABANDONED: Final = "ell.invocation.abandoned"
ELL_DUPLICATE: Final = "ell.duplicate"  # "true": another span describes the same model call
ELL_REQUEST: Final = "ell.request"  # JSON: what was asked, as the SDK was called; docs/design.md
ELL_LINK: Final = "ell.link"
LINK_CONSUMES: Final = "consumes"

# The program event. Every attribute is a scalar string: collectors disagree on how bytes, maps and lists are stored.
ELL_PROGRAM_SOURCE: Final = "ell.program.source"
ELL_PROGRAM_USES: Final = "ell.program.uses"  # JSON: [{"name": …, "version": …}, …]
ELL_PROGRAM_PARTIAL: Final = "ell.program.partial"  # "true" | "false"
ELL_PROGRAM_WARNINGS: Final = "ell.program.warnings"  # JSON: ["…", …]
ELL_PROGRAM_GIT_COMMIT: Final = "ell.program.git.commit"
ELL_PROGRAM_GIT_BRANCH: Final = "ell.program.git.branch"
ELL_PROGRAM_GIT_DIRTY: Final = "ell.program.git.dirty"  # "true" | "false"
ELL_PROGRAM_PROTO: Final = "ell.program.proto"
ELL_PROGRAM_PROTO_ENCODING: Final = "ell.program.proto.encoding"
ELL_PROGRAM_PART: Final = "ell.program.part"  # "1/3": which slice of the source and proto this record carries
PROTO_ENCODING_BASE64: Final = "base64"

# -- events -----------------------------------------------------------------------------------------------------------
# The name goes into the record's event_name and into this attribute: older sinks have no EventName column.
EVENT_NAME: Final = "event.name"
EVENT_PROGRAM: Final = "ell.program"
EVENT_EVALUATION: Final = "gen_ai.evaluation.result"
EVENT_LABEL: Final = "ell.label"  # name@label of a program points to a version from now on
ELL_LABEL_NAME: Final = "ell.label.name"
EVENT_LOSS: Final = "ell.loss"
ELL_LOSS_COUNT: Final = "ell.loss.count"
ELL_LOSS_REASON: Final = "ell.loss.reason"
ELL_LOSS_SINCE: Final = "ell.loss.since"

SCOPE_NAME: Final = "ell_otel"

# -- tables (ClickHouse) ----------------------------------------------------------------------------------------------
# The first three carry exactly the columns of the OpenTelemetry Collector's ClickHouse exporter.
TABLE_TRACES: Final = "otel_traces"
TABLE_LOGS: Final = "otel_logs"
TABLE_TRACE_ID_TS: Final = "otel_traces_trace_id_ts"
TABLE_SPANS: Final = "ell_spans"
TABLE_INVOCATIONS: Final = "ell_invocations"
TABLE_INFERENCES: Final = "ell_inferences"
TABLE_INVOCATION_CONTENTS: Final = "ell_invocation_contents"
TABLE_PROGRAM_VERSIONS: Final = "ell_program_versions"
TABLE_PROGRAM_SOURCES: Final = "ell_program_sources"
TABLE_PROGRAM_EDGES: Final = "ell_program_edges"
TABLE_EVALUATIONS: Final = "ell_evaluations"
TABLE_LABELS: Final = "ell_labels"
TABLE_RUNS: Final = "ell_runs"
TABLE_DUPLICATES: Final = "ell_duplicates"
TABLE_PRICES: Final = "ell_prices"
TABLE_MIGRATIONS: Final = "ell_migrations"
