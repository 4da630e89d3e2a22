#!/bin/sh
# Every endpoint that the embedded model can answer, with curl; docs/http.md has the others (images, sound, videos,
# moderations, rerank), which take a provider that has them.
#
#     TOKENHUB_BASE_URL=http://127.0.0.1:8080/v1 TOKENHUB_API_KEY=th-… sh curl.sh
set -eu

base=${TOKENHUB_BASE_URL:-http://127.0.0.1:8080/v1}
root=${base%/v1}
model=${TOKENHUB_MODEL:-smollm2-135m}
embedding_model=${TOKENHUB_EMBEDDING_MODEL:-smollm2-135m-embed}

# The key goes through standard input: in an argument, every user of this machine could read it.
ask() {
    printf 'header = "Authorization: Bearer %s"\n' "$TOKENHUB_API_KEY" \
      | curl --config - --silent --show-error --fail-with-body --header 'Content-Type: application/json' "$@"
    echo
}

hello='[{"role": "user", "content": "Say hello."}]'

echo '# a chat'
ask "$base/chat/completions" --data "{\"model\": \"$model\", \"messages\": $hello, \"max_tokens\": 50}"

echo '# the same, as it comes'
ask "$base/chat/completions" --no-buffer \
    --data "{\"model\": \"$model\", \"messages\": $hello, \"max_tokens\": 50, \"stream\": true}"

echo '# OpenAI Responses'
ask "$base/responses" --data "{\"model\": \"$model\", \"input\": \"Say hello.\", \"max_output_tokens\": 50}"

echo '# Anthropic Messages, and the size of a prompt'
ask "$base/messages" --data "{\"model\": \"$model\", \"messages\": $hello, \"max_tokens\": 50}"
ask "$base/messages/count_tokens" --data "{\"model\": \"$model\", \"messages\": $hello}"

echo "# Google's generateContent"
ask "$root/v1beta/models/$model:generateContent" \
    --data '{"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}], "generationConfig": {"maxOutputTokens": 50}}'

echo '# a text completion'
ask "$base/completions" --data "{\"model\": \"$model\", \"prompt\": \"Once upon a time\", \"max_tokens\": 20}"

echo '# embeddings'
ask "$base/embeddings" --data "{\"model\": \"$embedding_model\", \"input\": [\"a cat\", \"a dog\"]}"

echo '# what this key may call, where and at what price, the key, the credit'
ask "$base/models"
ask "$base/models/$model"
ask "$base/models/$model/endpoints"
ask "$base/key"
ask "$base/credits"

echo '# the receipt of a request'
id=$(ask "$base/chat/completions" --output /dev/null --dump-header - \
    --data "{\"model\": \"$model\", \"messages\": $hello, \"max_tokens\": 5}" | tr -d '\r' | sed -n 's/^x-request-id: //p')
ask "$base/generation?id=$id"
