"""A kind for the tests of the server itself, with one of everything."""

from __future__ import annotations

from typing import Any

import yaml

GROUP = "test.weir.dev"
NAME = f"widgets.{GROUP}"
DEFINITION: dict[str, Any] = yaml.safe_load(
    """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.test.weir.dev}
spec:
  group: test.weir.dev
  scope: Namespaced
  names: {kind: Widget, plural: widgets, shortNames: [wg], categories: [weir-test]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale:
        specReplicasPath: .spec.replicas
        statusReplicasPath: .status.replicas
    additionalPrinterColumns:
    - {name: Size, type: string, jsonPath: .spec.size}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    selectableFields:
    - jsonPath: .spec.size
    schema:
      openAPIV3Schema:
        description: Something to try things with.
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [size]
            x-kubernetes-validations:
            - rule: '!(has(self.weight) && has(self.share))'
              message: give either weight or share
            - rule: self.size == oldSelf.size || oldSelf.size != 'fixed'
              message: a fixed size stays
            properties:
              size: {type: string, enum: [small, large, fixed], description: How big it is.}
              replicas: {type: integer, format: int32, minimum: 0, default: 1}
              weight: {type: integer, minimum: 1, maximum: 100}
              share: {type: number}
              timeout: {type: string, pattern: '^[0-9]+s$', default: 30s}
              name: {type: string, maxLength: 8}
              port: {x-kubernetes-int-or-string: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              ports:
                type: array
                maxItems: 4
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name, port]
                  properties:
                    name: {type: string}
                    port: {type: integer, minimum: 1, maximum: 65535}
                    protocol: {type: string, default: TCP}
              tags:
                type: array
                x-kubernetes-list-type: set
                items: {type: string}
          status:
            type: object
            properties:
              replicas: {type: integer}
              conditions:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [type]
                items:
                  type: object
                  required: [type, status]
                  properties:
                    type: {type: string}
                    status: {type: string}
"""
)


def widget(name: str, **spec: Any) -> dict[str, Any]:  # noqa: ANN401 (any field)
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": "small", **spec},
    }


def text(*documents: dict[str, Any]) -> str:
    return yaml.safe_dump_all(documents)
